// S slots sorted by N matrices of O rows and I columns.
#include "talpa/nn/moe/grouped_products.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <atomic>

#include "talpa/base/error.h"
#include "talpa/kernel/buffer.h"
#include "talpa/kernel/implementation.h"
#include "talpa/kernel/panel_pack.h"
#include "talpa/nn/precision.h"

namespace talpa::nn {
namespace {

using kernel::kPanelRows;
using kernel::PanelTask;

/// Rows that a task multiplies: whole tiles of registers, and little enough for a cache.
constexpr std::int64_t kBlockRows = 96;
/// Panels that pass by the rows together.
constexpr std::int64_t kPanelGroup = 4;

bool is_float(const at::Tensor& x) { return is_float_on_cpu(x) && x.is_contiguous(); }

/// body(i) for every i below count, in turn by whichever thread is free.
template <class Body>
void for_tasks(std::int64_t count, const Body& body) {
  std::atomic<std::int64_t> next{0};
  const std::int64_t threads = std::min<std::int64_t>(at::get_num_threads(), count);
  at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) {
    for (std::int64_t i = next++; i < count; i = next++) body(i);
  });
}

kernel::PanelFunction rows_function() {
  return kernel::matmul_implementation(DType::kF32).functions.f32;
}
kernel::PanelFunction outer_function() {
  return kernel::matmul_implementation(DType::kF32).functions.outer_f32;
}

const std::int32_t* index_of(const RowMap* map) {
  return map == nullptr || map->identity ? nullptr : map->index.const_data_ptr<std::int32_t>();
}

/// Slots [first, first + count) of matrix e.
struct Block {
  std::int64_t e, first, count;
};

std::vector<Block> blocks_of(std::span<const std::int64_t> offsets) {
  std::vector<Block> blocks;
  for_each_range(offsets, [&](std::int64_t e, RowRange range) {
    for (std::int64_t s = range.first; s < range.last; s += kBlockRows)
      blocks.push_back({e, s, std::min(kBlockRows, range.last - s)});
  });
  return blocks;
}

/// Makes a task read rows of `x` for the slots of a block.
void take_rows(PanelTask& task, const SlotRows& x, const Block& block) {
  const std::int32_t* index = index_of(x.map);
  task.x_stride = x.rows.size(1);
  task.x = x.rows.const_data_ptr<float>() + (index == nullptr ? block.first * task.x_stride : 0);
  task.row_index = index == nullptr ? nullptr : index + block.first;
}

/// N matrices of floats as the kernels' panels.
struct Panels {
  const float* data;
  std::int64_t num_outputs, num_inputs;
  Multiply how;

  Panels(const at::Tensor& weight_NOI, Multiply how)
      : data(weight_NOI.const_data_ptr<float>()),
        num_outputs(weight_NOI.size(how == Multiply::kPlain ? 2 : 1)),
        num_inputs(weight_NOI.size(how == Multiply::kPlain ? 1 : 2)),
        how(how) {}

  std::int64_t count() const { return (num_outputs + kPanelRows - 1) / kPanelRows; }
  std::int64_t floats() const { return num_inputs * kPanelRows; }

  void pack(std::int64_t e, std::int64_t p, float* panel) const {
    const float* matrix = data + e * num_outputs * num_inputs;
    const std::int64_t first = p * kPanelRows;
    const int width = static_cast<int>(std::min<std::int64_t>(kPanelRows, num_outputs - first));
    if (how == Multiply::kTransposed)
      kernel::pack_panel_of_rows(matrix + first * num_inputs, num_inputs, width, num_inputs, panel);
    else
      kernel::pack_panel_of_columns(matrix + first, num_outputs, nullptr, num_inputs, width, panel);
  }

  /// A task on panels from `first` on, packed one behind the other.
  PanelTask task(const float* packed, std::int64_t first, std::int64_t num_panels) const {
    PanelTask task;
    task.columns = num_inputs;
    task.panels = reinterpret_cast<const std::byte*>(packed);
    task.panel_bytes = floats() * static_cast<std::int64_t>(sizeof(float));
    task.num_panels = static_cast<int>(num_panels);
    task.width = std::min(num_panels * kPanelRows, num_outputs - first * kPanelRows);
    return task;
  }
};

/// Panels of a group of columns by all slots of all matrices, into the sum's same columns: each
/// group is one thread's, so that sums need no order among threads.
class ColumnSums {
 public:
  ColumnSums(std::span<const SlotFactor> factors, Multiply how, const RowMap& map, at::Tensor& sum)
      : map_(map), sum_(sum), factors_(factors) {
    for (const SlotFactor& factor : factors) panels_.emplace_back(factor.weight_NOI, how);
  }

  void run(const std::vector<Block>& blocks, std::int64_t first, std::int64_t num_panels) {
    thread_local Buffer<float> packed, tile;
    std::int64_t floats = 0;
    for (const Panels& panels : panels_) floats += num_panels * panels.floats();
    packed.resize(static_cast<std::size_t>(floats));
    tile.resize(static_cast<std::size_t>(kBlockRows * num_panels * kPanelRows));
    std::int64_t packed_matrix = -1;
    for (const Block& block : blocks) {
      if (std::exchange(packed_matrix, block.e) != block.e)
        pack(block.e, first, num_panels, packed.data());
      fetch(block, first, num_panels);
      multiply(block, first, num_panels, packed.data(), tile.data());
      add(block, first, num_panels, tile.data());
    }
  }

  std::int64_t num_panels() const { return panels_.front().count(); }

 private:
  void pack(std::int64_t e, std::int64_t first, std::int64_t num_panels, float* packed) const {
    for (const Panels& panels : panels_)
      for (std::int64_t p = 0; p < num_panels; ++p, packed += panels.floats())
        panels.pack(e, first + p, packed);
  }

  void multiply(const Block& block, std::int64_t first, std::int64_t num_panels,
                const float* packed, float* tile) const {
    for (std::size_t i = 0; i < panels_.size(); ++i) {
      PanelTask task = panels_[i].task(packed, first, num_panels);
      take_rows(task, {factors_[i].rows_SW}, block);
      task.rows = static_cast<int>(block.count);
      task.y = tile;
      task.y_stride = num_panels * kPanelRows;
      task.accumulate = i > 0;
      rows_function()(task);
      packed += num_panels * panels_[i].floats();
    }
  }

  /// Asks for the rows of the sum while their terms are computed.
  void fetch(const Block& block, std::int64_t first, std::int64_t num_panels) const {
    const std::int32_t* index = index_of(&map_);
    if (index == nullptr) return;
    const float* sum = sum_.const_data_ptr<float>() + first * kPanelRows;
    for (std::int64_t slot = block.first; slot < block.first + block.count; ++slot)
      for (std::int64_t p = 0; p < num_panels; ++p)
        __builtin_prefetch(sum + index[slot] * sum_.size(1) + p * kPanelRows, 1, 2);
  }

  void add(const Block& block, std::int64_t first, std::int64_t num_panels,
           const float* tile) const {
    const auto axpy = kernel::row_functions().axpy;
    const std::int32_t* index = index_of(&map_);
    const std::int64_t column = first * kPanelRows, stride = num_panels * kPanelRows;
    const std::int64_t width = std::min(stride, sum_.size(1) - column);
    float* sum = sum_.data_ptr<float>() + column;
    for (std::int64_t r = 0; r < block.count; ++r) {
      const std::int64_t slot = block.first + r;
      axpy(1, tile + r * stride, sum + (index == nullptr ? slot : index[slot]) * sum_.size(1),
           width);
    }
  }

  const RowMap& map_;
  at::Tensor& sum_;
  std::span<const SlotFactor> factors_;
  std::vector<Panels> panels_;
};

/// Rows [first, first + count) of the outer products of matrix e.
struct OuterTask {
  std::int64_t e, first, count;
};

/// Matrices with many slots are cut, so that threads have about equal work. Every task packs the
/// slots of its matrix again: one matrix is cut into no more than a task a thread.
std::vector<OuterTask> outer_tasks(const std::vector<std::int64_t>& offsets, std::int64_t height) {
  const std::int64_t threads = at::get_num_threads();
  const std::int64_t num_shares = threads == 1 || offsets.size() == 2 ? threads : 4 * threads;
  const std::int64_t share = (offsets.back() + num_shares - 1) / num_shares;
  std::vector<OuterTask> tasks;
  for_each_range(offsets, [&](std::int64_t e, RowRange range) {
    const std::int64_t pieces = (range.last - range.first + share - 1) / share;
    const std::int64_t step = std::max<std::int64_t>((height + pieces - 1) / pieces, 24);
    for (std::int64_t i = 0; i < height; i += step)
      tasks.push_back({e, i, std::min(step, height - i)});
  });
  return tasks;
}

void run_outer(const OuterTask& outer, RowRange range, const SlotRows& a, const SlotRows& b,
               float* product, bool accumulate) {
  thread_local Buffer<float> packed;
  const std::int64_t slots = range.last - range.first, width = b.rows.size(1);
  packed.resize(static_cast<std::size_t>(kPanelGroup * slots * kPanelRows));
  const std::int32_t* index = index_of(b.map);
  const float* rows = b.rows.const_data_ptr<float>() + (index == nullptr ? range.first * width : 0);
  PanelTask task;
  take_rows(task, a, {outer.e, range.first, slots});
  task.x += outer.first;
  task.rows = static_cast<int>(outer.count);
  task.columns = slots;
  task.panels = reinterpret_cast<const std::byte*>(packed.data());
  task.panel_bytes = slots * kPanelRows * static_cast<std::int64_t>(sizeof(float));
  task.y_stride = width;
  task.accumulate = accumulate;
  for (std::int64_t first = 0; first < width; first += kPanelGroup * kPanelRows) {
    task.width = std::min(kPanelGroup * kPanelRows, width - first);
    task.num_panels = static_cast<int>((task.width + kPanelRows - 1) / kPanelRows);
    for (int p = 0; p < task.num_panels; ++p)
      kernel::pack_panel_of_columns(
          rows + first + p * kPanelRows, width, index == nullptr ? nullptr : index + range.first,
          slots, static_cast<int>(std::min<std::int64_t>(kPanelRows, task.width - p * kPanelRows)),
          packed.data() + p * slots * kPanelRows);
    task.y = product + outer.first * width + first;
    outer_function()(task);
  }
}

at::Tensor rows_of(const SlotRows& x, RowRange range) {
  return x.map == nullptr ? range.of(x.rows) : rows_of(x.rows, *x.map, range);
}

at::Tensor oriented(const at::Tensor& weight_NOI, std::int64_t e, Multiply how) {
  const at::Tensor matrix = weight_NOI.select(0, e);
  return how == Multiply::kTransposed ? matrix.t() : matrix;
}

}  // namespace

PackedMatrices::PackedMatrices(const at::Tensor& weight_NOI, Multiply how,
                               std::span<const std::int64_t> offsets)
    : weight_NOI_(weight_NOI), how_(how) {
  if (!is_float(weight_NOI)) return;
  const Panels panels(weight_NOI, how);
  packed_ = at::empty({weight_NOI.size(0), panels.count() * panels.floats()});
  float* first = packed_.data_ptr<float>();
  for_tasks(weight_NOI.size(0) * panels.count(), [&](std::int64_t i) {
    const std::int64_t e = i / panels.count(), p = i % panels.count();
    if (offsets.empty() || offsets[e] < offsets[e + 1])
      panels.pack(e, p, first + i * panels.floats());
  });
}

void PackedMatrices::multiply(std::span<const std::int64_t> offsets, const SlotRows& x,
                              at::Tensor& y_SW) const {
  if (!packed_.defined() || !is_float(x.rows) || !is_float(y_SW)) {
    for_each_range(offsets, [&](std::int64_t e, RowRange range) {
      at::Tensor y = range.of(y_SW);
      at::mm_out(y, rows_of(x, range), oriented(weight_NOI_, e, how_));
    });
    return;
  }
  const Panels panels(weight_NOI_, how_);
  TALPA_CHECK(x.rows.size(1) == panels.num_inputs && y_SW.size(1) == panels.num_outputs);
  const std::vector<Block> blocks = blocks_of(offsets);
  for_tasks(static_cast<std::int64_t>(blocks.size()), [&](std::int64_t i) {
    const Block& block = blocks[static_cast<std::size_t>(i)];
    const float* packed = packed_.const_data_ptr<float>() + block.e * packed_.size(1);
    PanelTask task = panels.task(packed, 0, panels.count());
    take_rows(task, x, block);
    task.rows = static_cast<int>(block.count);
    task.y = y_SW.data_ptr<float>() + block.first * panels.num_outputs;
    task.y_stride = panels.num_outputs;
    rows_function()(task);
  });
}

void multiply_slots(const std::vector<std::int64_t>& offsets, const SlotRows& x,
                    const at::Tensor& weight_NOI, Multiply how, at::Tensor& y_SW) {
  PackedMatrices(weight_NOI, how, offsets).multiply(offsets, x, y_SW);
}

void add_slots(const std::vector<std::int64_t>& offsets, std::span<const SlotFactor> factors,
               Multiply how, const RowMap& map, at::Tensor& sum) {
  if (!std::all_of(
          factors.begin(), factors.end(),
          [](const SlotFactor& f) { return is_float(f.rows_SW) && is_float(f.weight_NOI); }) ||
      !is_float(sum)) {
    for_each_range(offsets, [&](std::int64_t e, RowRange range) {
      at::Tensor y = at::mm(range.of(factors[0].rows_SW), oriented(factors[0].weight_NOI, e, how));
      for (const SlotFactor& factor : factors.subspan(1))
        y.addmm_(range.of(factor.rows_SW), oriented(factor.weight_NOI, e, how));
      add_rows(sum, y, map, range);
    });
    return;
  }
  const std::vector<Block> blocks = blocks_of(offsets);
  ColumnSums sums(factors, how, map, sum);
  const std::int64_t count = sums.num_panels();
  const std::int64_t group =
      std::clamp<std::int64_t>(count / at::get_num_threads(), 1, kPanelGroup);
  for_tasks((count + group - 1) / group, [&](std::int64_t i) {
    sums.run(blocks, i * group, std::min(group, count - i * group));
  });
}

void multiply_outer(const std::vector<std::int64_t>& offsets, const SlotRows& a, const SlotRows& b,
                    at::Tensor& product_NAB, bool accumulate) {
  for (std::size_t e = 0; !accumulate && e + 1 < offsets.size(); ++e)
    if (offsets[e] == offsets[e + 1]) product_NAB.select(0, static_cast<std::int64_t>(e)).zero_();
  if (!is_float(a.rows) || !is_float(b.rows) || !is_float(product_NAB)) {
    for_each_range(offsets, [&](std::int64_t e, RowRange range) {
      at::Tensor product = product_NAB.select(0, e);
      if (accumulate)
        product.addmm_(rows_of(a, range).t(), rows_of(b, range));
      else
        at::mm_out(product, rows_of(a, range).t(), rows_of(b, range));
    });
    return;
  }
  const std::vector<OuterTask> tasks = outer_tasks(offsets, a.rows.size(1));
  for_tasks(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t i) {
    const OuterTask& task = tasks[static_cast<std::size_t>(i)];
    run_outer(task, {offsets[task.e], offsets[task.e + 1]}, a, b,
              product_NAB.data_ptr<float>() + task.e * product_NAB.stride(0), accumulate);
  });
}

}  // namespace talpa::nn
