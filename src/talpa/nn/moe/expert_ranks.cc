// S slots sorted by N experts; E processes with L = N / E experts each; M maps that slots take
// rows by; P parcels: the different rows of a map that one process is sent, in ascending order.
#include "talpa/nn/moe/expert_ranks.h"

#include <torch/torch.h>

#include <algorithm>
#include <numeric>

#include "talpa/base/error.h"
#include "talpa/nn/saved_value.h"

namespace talpa::nn {
namespace {

using collective::Communicator;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Counts = std::vector<std::int64_t>;

std::int64_t total(const Counts& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

struct Exchange {
  Communicator* ranks;
  Counts send, recv;
};

// Rows to other processes; the gradient takes the same way back.
struct ExchangeRows : torch::autograd::Function<ExchangeRows> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const Exchange& exchange) {
    SavedValue<Exchange>::save(context, exchange);
    return exchange.ranks->exchange_rows(x, exchange.send, exchange.recv);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Exchange& forward = SavedValue<Exchange>::saved(context);
    return {forward.ranks->exchange_rows(gradients[0], forward.recv, forward.send), at::Tensor()};
  }
};

// The rows of one map on their way.
struct Parcels {
  Counts send, recv;                  ///< [E]
  std::vector<std::int32_t> rows;     ///< [P] row of each parcel, process by process
  std::vector<std::int64_t> of_slot;  ///< [S] number of a slot's parcel among its process'
};

Parcels parcels_of(const RowMap& map, const Counts& slot_ends) {
  const auto* row = map.index.const_data_ptr<std::int32_t>();
  Parcels parcels;
  parcels.of_slot.resize(static_cast<std::size_t>(map.num_targets()));
  std::vector<std::int64_t> number(static_cast<std::size_t>(map.num_sources));
  for (std::size_t e = 0; e + 1 < slot_ends.size(); ++e) {
    std::vector<std::int32_t> rows;
    for (std::int64_t s = slot_ends[e]; s < slot_ends[e + 1]; ++s)
      rows.push_back(static_cast<std::int32_t>(row[s]));
    std::sort(rows.begin(), rows.end());
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
    for (std::size_t p = 0; p < rows.size(); ++p)
      number[static_cast<std::size_t>(rows[p])] = static_cast<std::int64_t>(p);
    for (std::int64_t s = slot_ends[e]; s < slot_ends[e + 1]; ++s)
      parcels.of_slot[static_cast<std::size_t>(s)] = number[static_cast<std::size_t>(row[s])];
    parcels.send.push_back(static_cast<std::int64_t>(rows.size()));
    parcels.rows.insert(parcels.rows.end(), rows.begin(), rows.end());
  }
  return parcels;
}

std::int64_t to_others(const Counts& send, int own) {
  return total(send) - send[static_cast<std::size_t>(own)];
}

// One layer's slots on their way to the processes of their experts.
class Dispatch {
 public:
  Dispatch(Communicator& ranks, const SwigluPlan& plan)
      : ranks_(ranks), num_experts_(static_cast<int>(plan.offsets.size()) - 1) {
    if (num_experts_ % ranks.size() != 0)
      fail(ErrorCode::kConfig, "{} processes cannot share {} experts evenly", ranks.size(),
           num_experts_);
    num_local_ = num_experts_ / ranks.size();
    for (int e = 0; e <= num_experts_; e += num_local_)
      slot_ends_.push_back(plan.offsets[static_cast<std::size_t>(e)]);
    for (const RowMap* map : {&plan.gate, &plan.up, &plan.down}) add_map(*map);
    exchange_counts(plan.offsets);
    exchange_slots();
  }

  // x's parcels, which routed_swiglu then takes by local().
  at::Tensor send(const at::Tensor& x, const RowMap& map) {
    const Parcels& parcels = parcels_[index_of(map)];
    return ExchangeRows::apply(gather_rows(x, RowMap(parcels.rows, map.num_sources)),
                               Exchange{&ranks_, parcels.send, parcels.recv});
  }
  at::Tensor send_weights(const at::Tensor& weight_S) {
    const at::Tensor arrived =
        ExchangeRows::apply(weight_S.unsqueeze(1), Exchange{&ranks_, send_, recv_});
    return gather_rows(arrived, RowMap(arrival_, total(recv_))).squeeze(1);
  }
  // What the experts made of parcels, summed into the rows that they came of.
  at::Tensor take_back(const at::Tensor& y, const RowMap& map) {
    const Parcels& parcels = parcels_[index_of(map)];
    const at::Tensor back = ExchangeRows::apply(y, Exchange{&ranks_, parcels.recv, parcels.send});
    return sum_rows(back, RowMap(parcels.rows, map.num_sources));
  }

  // The plan of this process' experts over all parcels that came.
  SwigluPlan local(const SwigluPlan& plan) const {
    return {offsets_, local_maps_[index_of(plan.gate)], local_maps_[index_of(plan.up)],
            local_maps_[index_of(plan.down)]};
  }

  std::int64_t parcels_to_others(const RowMap& map) const {
    return to_others(parcels_[index_of(map)].send, ranks_.rank());
  }
  std::int64_t rows_to_others(const RowMap& rows) const {
    return to_others(parcels_of(rows, slot_ends_).send, ranks_.rank());
  }

 private:
  std::size_t index_of(const RowMap& map) const {
    for (std::size_t m = 0; m < maps_.size(); ++m)
      if (maps_[m].is_same(map.index)) return m;
    fail(ErrorCode::kInternal, "a map of rows that was not sent");
  }

  void add_map(const RowMap& map) {
    for (const at::Tensor& known : maps_)
      if (known.is_same(map.index)) return;
    maps_.push_back(map.index);
    parcels_.push_back(parcels_of(map, slot_ends_));
  }

  // To every process: how many slots each of its experts gets, and how many parcels of each map.
  void exchange_counts(const Counts& offsets) {
    const auto num_maps = static_cast<std::int64_t>(maps_.size());
    const std::int64_t width = num_local_ + num_maps;
    at::Tensor sent = at::empty({ranks_.size(), width}, at::kLong);
    auto* out = sent.data_ptr<std::int64_t>();
    for (int r = 0; r < ranks_.size(); ++r) {
      for (int e = r * num_local_; e < (r + 1) * num_local_; ++e)
        *out++ = offsets[static_cast<std::size_t>(e) + 1] - offsets[static_cast<std::size_t>(e)];
      for (const Parcels& parcels : parcels_) *out++ = parcels.send[static_cast<std::size_t>(r)];
      send_.push_back(slot_ends_[static_cast<std::size_t>(r) + 1] -
                      slot_ends_[static_cast<std::size_t>(r)]);
    }
    const Counts one(static_cast<std::size_t>(ranks_.size()), 1);
    came_ = ranks_.exchange_rows(sent, one, one);
    for (int r = 0; r < ranks_.size(); ++r) {
      const auto* row = came_.const_data_ptr<std::int64_t>() + r * width;
      recv_.push_back(std::accumulate(row, row + num_local_, std::int64_t{0}));
      for (std::int64_t m = 0; m < num_maps; ++m)
        parcels_[static_cast<std::size_t>(m)].recv.push_back(row[num_local_ + m]);
    }
    order_arrivals(width);
  }

  // Slots come process by process; experts take theirs together, in that order.
  void order_arrivals(std::int64_t width) {
    const auto* counts = came_.const_data_ptr<std::int64_t>();
    std::vector<std::int64_t> next(static_cast<std::size_t>(ranks_.size()), 0);
    for (std::size_t r = 1; r < next.size(); ++r) next[r] = next[r - 1] + recv_[r - 1];
    offsets_ = {0};
    for (int e = 0; e < num_local_; ++e) {
      for (std::size_t r = 0; r < next.size(); ++r)
        for (std::int64_t i = counts[static_cast<std::int64_t>(r) * width + e]; i > 0; --i) {
          arrival_.push_back(static_cast<std::int32_t>(next[r]++));
          source_.push_back(static_cast<std::int32_t>(r));
        }
      offsets_.push_back(static_cast<std::int64_t>(arrival_.size()));
    }
  }

  // Which parcel each slot takes.
  void exchange_slots() {
    const std::size_t num_maps = maps_.size();
    at::Tensor sent = at::empty({total(send_), static_cast<std::int64_t>(num_maps)}, at::kLong);
    auto* out = sent.data_ptr<std::int64_t>();
    for (std::int64_t s = 0; s < sent.size(0); ++s)
      for (const Parcels& parcels : parcels_) *out++ = parcels.of_slot[static_cast<std::size_t>(s)];
    const at::Tensor came = ranks_.exchange_rows(sent, send_, recv_);
    const auto* parcel = came.const_data_ptr<std::int64_t>();
    for (std::size_t m = 0; m < num_maps; ++m) {
      const Counts& recv = parcels_[m].recv;
      std::vector<std::int64_t> first(recv.size(), 0);
      for (std::size_t r = 1; r < recv.size(); ++r) first[r] = first[r - 1] + recv[r - 1];
      std::vector<std::int32_t> index(arrival_.size());
      for (std::size_t s = 0; s < index.size(); ++s)
        index[s] =
            static_cast<std::int32_t>(first[static_cast<std::size_t>(source_[s])] +
                                      parcel[static_cast<std::size_t>(arrival_[s]) * num_maps + m]);
      local_maps_.emplace_back(index, total(recv));
    }
  }

  Communicator& ranks_;
  int num_experts_, num_local_ = 0;
  Counts slot_ends_, send_, recv_, offsets_;
  std::vector<at::Tensor> maps_;
  std::vector<Parcels> parcels_;
  at::Tensor came_;
  std::vector<std::int32_t> arrival_, source_;  // of local slots: as which one it came, whence
  std::vector<RowMap> local_maps_;
};

}  // namespace

bool is_expert_parameter(const std::string& name) {
  return name.ends_with(".moe.gate") || name.ends_with(".moe.up") || name.ends_with(".moe.down");
}

at::Tensor ExpertRanks::share_of(const at::Tensor& whole) const {
  const std::int64_t share = whole.size(0) / size();
  return whole.narrow(0, ranks_.rank() * share, share);
}

at::Tensor ExpertRanks::swiglu(const at::Tensor& a, const at::Tensor& b, const at::Tensor& weight_S,
                               const SwigluWeights& weights, const SwigluPlan& plan,
                               const RowMap& rows, std::int64_t width) {
  Dispatch dispatch(ranks_, plan);
  const bool one_input = a.is_same(b) && plan.gate.index.is_same(plan.up.index);
  const at::Tensor a_here = dispatch.send(a, plan.gate);
  const at::Tensor b_here = one_input ? a_here : dispatch.send(b, plan.up);
  const at::Tensor weight_here = dispatch.send_weights(weight_S);
  const at::Tensor y_here =
      routed_swiglu(a_here, b_here, weight_here, weights, dispatch.local(plan));
  const at::Tensor y = dispatch.take_back(y_here, plan.down);
  std::int64_t values = dispatch.parcels_to_others(plan.gate) * a.size(1) +
                        dispatch.parcels_to_others(plan.down) * y.size(1);
  if (!one_input) values += dispatch.parcels_to_others(plan.up) * b.size(1);
  // The gradient takes every way once more.
  const std::int64_t bytes = a.element_size() * (at::GradMode::is_enabled() ? 2 : 1);
  traffic_.moved += bytes * values;
  traffic_.whole_rows += bytes * 2 * dispatch.rows_to_others(rows) * width;
  return y;
}

}  // namespace talpa::nn
