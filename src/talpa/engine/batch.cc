#include "talpa/engine/batch.h"

#include <algorithm>

namespace talpa {

namespace {

std::size_t rows_of(const SequenceInput& input) {
  switch (input.logits) {
    case LogitsWanted::kNone:
      return 0;
    case LogitsWanted::kLast:
      return 1;
    case LogitsWanted::kAll:
      return input.tokens.size();
  }
  return 0;
}

}  // namespace

Batch::Batch(const LoadedModel& loaded, const SchedulerOptions& options)
    : loaded_(loaded), options_(options), prefixes_(options.prefix_bytes) {
  const auto parallel = static_cast<std::size_t>(options.parallel);
  const auto row_bytes =
      sizeof(float) * static_cast<std::size_t>(loaded.model->config().vocab_size);
  max_rows_ = std::max(options.logit_bytes / row_bytes, parallel + 1);
  options_.step_tokens = std::max(options.step_tokens, options.parallel + 1);
}

std::uint64_t Batch::kv_bytes() const {
  std::uint64_t total = 0;
  for (const Sequence& s : sequences_) total += s.kv_bytes();
  return total;
}

int Batch::add(PendingCompletion pending) {
  const auto completions = pending.completions;
  CompletionEvent failed{.index = pending.index};
  try {
    return sequences_.emplace_back(loaded_, std::move(pending), prefixes_).cached_tokens();
  } catch (const std::exception& error) {
    failed.error = error.what();
    completions->push(std::move(failed));
    return 0;
  }
}

void Batch::step(RoutingCounts& routing) {
  fed_ = {};
  for (Sequence& s : sequences_)
    if (s.cancelled()) s.end({});
  sequences_.remove_if([](const Sequence& s) { return s.over(); });
  compose();
  if (inputs_.empty()) return;
  std::vector<float> logits = loaded_.model->forward(inputs_, &routing);
  distribute(logits);
  sequences_.remove_if([](const Sequence& s) { return s.over(); });
}

void Batch::compose() {
  inputs_.clear();
  in_step_.clear();
  tokens_left_ = static_cast<std::size_t>(options_.step_tokens);
  rows_left_ = max_rows_;
  std::vector<Sequence*> readers;
  for (Sequence& s : sequences_) {
    if (s.reads_prompt())
      readers.push_back(&s);
    else
      put(s, 1);
  }
  if (readers.empty()) return;
  std::rotate(readers.begin(),
              readers.begin() + static_cast<std::ptrdiff_t>(turn_++ % readers.size()),
              readers.end());
  for (std::size_t i = 0; i < readers.size() && tokens_left_ > 0 && rows_left_ > 0; ++i) {
    const std::size_t share = std::max<std::size_t>(tokens_left_ / (readers.size() - i), 1);
    const std::size_t before = tokens_left_;
    put(*readers[i], share);
    fed_.prompt_tokens += before - tokens_left_;
  }
}

void Batch::put(Sequence& sequence, std::size_t tokens) {
  inputs_.push_back(sequence.next(tokens, rows_left_));
  in_step_.push_back(&sequence);
  tokens_left_ -= inputs_.back().tokens.size();
  rows_left_ -= rows_of(inputs_.back());
}

void Batch::distribute(std::vector<float>& logits) {
  const auto width = static_cast<std::size_t>(loaded_.model->config().vocab_size);
  tasks_.clear();
  float* at = logits.data();
  for (std::size_t i = 0; i < in_step_.size(); ++i) {
    const std::size_t count = rows_of(inputs_[i]) * width;
    try {
      if (in_step_[i]->take({at, count}, tasks_)) ++fed_.generated_tokens;
    } catch (const std::exception& error) {
      in_step_[i]->end(error.what());
    }
    at += count;
  }
  run_tasks();
  for (Sequence* s : in_step_) s->tell();
}

void Batch::run_tasks() {
  const auto count = static_cast<std::int64_t>(tasks_.size());
  loaded_.model->threads().parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      *tasks_[i].result = log_probability(tasks_[i].logits, tasks_[i].token, tasks_[i].num_top);
  });
}

void Batch::end_all(const std::string& error) {
  for (Sequence& s : sequences_) s.end(error);
  sequences_.clear();
}

}  // namespace talpa
