#pragma once

#include <string>
#include <utility>
#include <vector>

#include "talpa/eval/compare.h"
#include "talpa/report/table.h"

namespace talpa {

/// Quality beside the first model.
Table quality_table(const Comparison& comparison);
/// Perplexity by domain; of documents that have one.
Table domain_table(const Comparison& comparison);
/// Parameters, bytes, multiply-adds and speed.
Table cost_table(const Comparison& comparison);

Json to_json(const Comparison& comparison);

struct ComparePage {
  std::string title;
  std::string command;                                     ///< the command line
  std::vector<std::pair<std::string, std::string>> facts;  ///< machine and text
};
/// One self-contained page: plots of quality against bytes, tables, how it was made.
std::string compare_html(const Comparison& comparison, const ComparePage& page);

}  // namespace talpa
