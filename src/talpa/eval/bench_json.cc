#include "talpa/base/cpu.h"
#include "talpa/base/threads.h"
#include "talpa/eval/bench_report.h"
#include "talpa/eval/expert_report.h"
#include "talpa/kernel/implementation.h"

namespace talpa {

namespace {

Json rate_json(const Rate& rate) {
  return {{"per_second", rate.per_second}, {"per_core_second", rate.per_core_second}};
}

Json limits_json(const ThreadLimits& limits) {
  return {{"threads", limits.threads},
          {"dram_read_bytes", rate_json(limits.dram_read)},
          {"fp32_operations", rate_json(limits.fp32)},
          {"int8_operations", rate_json(limits.int8)},
          {"bf16_operations", limits.bf16.per_second > 0 ? rate_json(limits.bf16) : Json(nullptr)}};
}

Json share_json(const LimitShare& share) {
  return {{"limit", share.limit},
          {"of_second", share.of_second},
          {"of_core_second", share.of_core_second}};
}

Json layer_json(const LayerSpeed& layer) {
  Json json = {{"latent", layer.latent.enabled() ? config_to_json(layer.latent) : Json(nullptr)},
               {"dtype", name_of(layer.held)},
               {"rows", layer.rows},
               {"seconds", layer.run.wall},
               {"core_seconds", layer.run.cpu},
               {"bytes", layer.bytes},
               {"macs", layer.macs},
               {"held_bytes", layer.held_bytes},
               {"bytes_per_second", layer.bytes_per_second()},
               {"operations_per_second", layer.operations_per_second()},
               {"operations_per_core_second", layer.operations_per_core_second()},
               {"share", share_json(layer.share)},
               {"against_dense", nullptr}};
  if (const auto& gain = layer.gain)
    json["against_dense"] = {
        {"speed", gain->speed},       {"speed_per_core_second", gain->speed_per_core},
        {"bytes", gain->bytes},       {"macs", gain->macs},
        {"realised", gain->realised}, {"realised_of", gain->by_bytes ? "bytes" : "macs"}};
  return json;
}

Json phase_json(const PhaseSpeed& phase) {
  return {{"tokens", phase.tokens},
          {"seconds", phase.round.wall},
          {"core_seconds", phase.round.cpu},
          {"tokens_per_second", phase.tokens_per_second()},
          {"tokens_per_core_second", phase.tokens_per_core_second()},
          {"bytes", phase.work.bytes},
          {"weight_operations", phase.work.operations},
          {"attention_operations", phase.work.float_operations},
          {"bytes_per_second", phase.work.bytes / phase.round.wall},
          {"operations_per_second",
           (phase.work.operations + phase.work.float_operations) / phase.round.wall},
          {"share", share_json(phase.share)},
          {"speed_against_first", phase.speed},
          {"core_speed_against_first", phase.speed_per_core},
          {"expert_cache", to_json(phase.experts)}};
}

Json load_json(const std::optional<LoadCost>& load) {
  if (!load) return nullptr;
  return {{"seconds", load->seconds},
          {"stored_bytes", load->stored_bytes},
          {"packed_bytes", load->packed_bytes},
          {"peak_anonymous_bytes",
           load->peak_anonymous_bytes > 0 ? Json(load->peak_anonymous_bytes) : Json(nullptr)}};
}

Json model_json(const ModelSpeed& model) {
  return {{"model", model.name},
          {"dtype", name_of(model.held)},
          {"experts", enum_name(model.experts)},
          {"weight_bytes", model.weight_bytes},
          {"active_bytes_per_token", model.active_bytes},
          {"loading", load_json(model.load)},
          {"prefill", phase_json(model.prefill)},
          {"decode", phase_json(model.decode)}};
}

}  // namespace

Json to_json(const BenchReport& report) {
  const MachineLimits& limits = report.limits;
  Json json = {{"machine",
                {{"cpu", cpu_features().model},
                 {"cpu_features", cpu_feature_names()},
                 {"kernels", kernel::implementations_in_use()},
                 {"cores", available_cores()},
                 {"threads", limits.all.threads}}},
               {"limits",
                {{"one_thread", limits_json(limits.one)},
                 {"all_threads", limits_json(limits.all)},
                 {"meanwhile", report.meanwhile ? limits_json(*report.meanwhile) : Json(nullptr)},
                 {"instructions",
                  {{"dram_read", limits.read_with},
                   {"fp32", limits.fp32_with},
                   {"int8", limits.int8_with},
                   {"bf16", limits.bf16_with.empty() ? Json(nullptr) : Json(limits.bf16_with)}}},
                 {"buffer_bytes", limits.buffer_bytes},
                 {"cache_bytes", limits.cache_bytes}}},
               {"load", nullptr},
               {"layers", Json::array()},
               {"models", Json::array()}};
  if (report.load)
    json["load"] = {{"seconds", report.load->seconds},
                    {"own_cores", report.load->own_cores},
                    {"other_cores", report.load->other_cores},
                    {"stolen_cores", report.load->stolen_cores}};
  for (const LayerSpeed& layer : report.layers) json["layers"].push_back(layer_json(layer));
  for (const ModelSpeed& model : report.models) json["models"].push_back(model_json(model));
  return json;
}

}  // namespace talpa
