#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "talpa/base/error.h"
#include "talpa/report/html.h"
#include "talpa/report/plot.h"
#include "talpa/report/table.h"

namespace talpa {
namespace {

TEST(DisplayWidth, CountsColumnsNotBytes) {
  const std::pair<const char*, std::size_t> cases[] = {
      {"", 0}, {"abc", 3}, {"±", 1}, {"Δp", 2}, {"日本", 4}, {"e\u0301", 1}, {"\xff\xfe", 2}};
  for (const auto& [text, width] : cases) EXPECT_EQ(display_width(text), width) << text;
}

TEST(Table, AlignsNumbersRightAndTextLeft) {
  Table table({"model", "ppl", "note"});
  table.add_row({"a", "9.5 ± 0.1", "fine"});
  table.add_row({"longer", "-", "日本"});
  table.add_row({"b", "123.25", ""});
  EXPECT_EQ(table.text(),
            "model         ppl  note\n"
            "-----------------------\n"
            "a       9.5 ± 0.1  fine\n"
            "longer          -  日本\n"
            "b          123.25\n");
}

TEST(Table, RefusesRowsOfAnotherWidth) {
  Table table({"a", "b"});
  EXPECT_THROW(table.add_row({"1"}), Error);
}

TEST(Table, EscapesHtml) {
  Table table({"<name>"});
  table.add_row({"a & \"b\""});
  EXPECT_NE(table.html().find("&lt;name&gt;"), std::string::npos);
  EXPECT_NE(table.html().find("a &amp; &quot;b&quot;"), std::string::npos);
}

TEST(FormatBytes, KeepsThreeDigits) {
  const std::pair<double, const char*> cases[] = {
      {0, "0 B"},        {999, "999 B"},     {1000, "1.00 kB"},   {13121992, "13.1 MB"},
      {99950, "100 kB"}, {999499, "999 kB"}, {999500, "1.00 MB"}, {2.5e12, "2.50 TB"},
      {5e15, "5000 TB"}};
  for (const auto& [bytes, expected] : cases) EXPECT_EQ(format_bytes(bytes), expected);
  EXPECT_EQ(format_count(9999), "9999");
  EXPECT_EQ(format_count(3280000), "3.28 M");
}

TEST(RoundTicks, CoverTheRangeInRoundSteps) {
  const std::pair<double, double> ranges[] = {{0, 1}, {0.123, 0.987}, {-3, 5e6}, {1e-9, 2e-9},
                                              {7, 7}, {0, 0},         {99, 101}};
  for (const auto& [low, high] : ranges) {
    const auto ticks = round_ticks(low, high);
    ASSERT_GE(ticks.size(), 2u);
    ASSERT_LE(ticks.size(), 14u);
    const double step = ticks[1] - ticks[0], slack = 1e-6 * step;
    EXPECT_LE(ticks.front(), low + slack);
    EXPECT_GE(ticks.back(), high - slack);
    const double digit = step / std::pow(10, std::floor(std::log10(step) + 1e-9));
    EXPECT_TRUE(std::abs(digit - 1) < 1e-6 || std::abs(digit - 2) < 1e-6 ||
                std::abs(digit - 5) < 1e-6 || std::abs(digit - 10) < 1e-6)
        << step;
  }
}

TEST(PlaceLabels, KeepsThemApart) {
  const Box frame{0, 0, 600, 300};
  std::vector<LabelRequest> labels;
  for (int i = 0; i < 8; ++i) labels.push_back({200.0 + 12 * (i % 4), 150.0 + 9 * (i / 4), 70, 15});
  const auto boxes = place_labels(labels, frame);
  ASSERT_EQ(boxes.size(), labels.size());
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    EXPECT_GE(boxes[i].left, frame.left);
    EXPECT_LE(boxes[i].right, frame.right);
    for (std::size_t j = 0; j < i; ++j) EXPECT_EQ(overlap_area(boxes[i], boxes[j]), 0) << i << j;
  }
}

TEST(PlotSvg, DrawsFinitePointsOnly) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string svg = plot_svg(
      {{.name = "s", .points = {{1, 2, 0, "<one>"}, {nan, 1, 0, "gone"}, {3, 4, nan, "three"}}}},
      {.title = "a & b"});
  EXPECT_NE(svg.find("&lt;one&gt;"), std::string::npos);
  EXPECT_NE(svg.find("a &amp; b"), std::string::npos);
  EXPECT_EQ(svg.find("gone"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST(PlotSvg, TakesNothingAndOnePoint) {
  EXPECT_EQ(plot_svg({}, {}).find("nan"), std::string::npos);
  EXPECT_EQ(plot_svg({{.name = "s", .points = {{5, 5, 0, "p"}}}}, {}).find("nan"),
            std::string::npos);
}

TEST(HtmlPage, NeedsNoOtherFile) {
  HtmlPage page("T <x>");
  page.add_text("a < b");
  page.add_figure(plot_svg({}, {}), "caption");
  page.add_facts({{"command", "talpa compare 'a b'"}});
  const std::string html = page.html();
  EXPECT_NE(html.find("<title>T &lt;x&gt;</title>"), std::string::npos);
  EXPECT_NE(html.find("talpa compare &#39;a b&#39;"), std::string::npos);
  for (const char* part : {" src=", "<link", "<script", "@import", "url("})
    EXPECT_EQ(html.find(part), std::string::npos) << part;
}

}  // namespace
}  // namespace talpa
