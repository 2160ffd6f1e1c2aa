#include "agents/editor/edit_runner.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "agents/engine/teacher_force.h"

namespace kvcommons {
namespace {

// FNV-1a: tells equal runs from unequal ones, nothing more.
std::uint64_t HashOf(const std::vector<std::vector<float>>& logits) {
  std::uint64_t hash = 14695981039346656037ull;
  for (const auto& row : logits) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(row.data());
    for (std::size_t i = 0; i < row.size() * sizeof(float); ++i) {
      hash = (hash ^ bytes[i]) * 1099511628211ull;
    }
  }
  return hash;
}

}  // namespace

EditRunner::EditRunner(Engine& engine, ModelHandle* model, ModelHandle* baseline,
                       const Clock& clock)
    : engine_(engine),
      model_(model),
      baseline_(baseline != nullptr ? baseline : model),
      clock_(clock) {
  tokenizer_.encode = [this](std::string_view text) { return engine_.Tokenize(text, false); };
  tokenizer_.piece = [this](TokenId id) { return engine_.Detokenize({&id, 1}); };
}

Result<EditResult> EditRunner::Run(const std::string& document, const std::string& before,
                                   const std::string& after, const EditRunOptions& options) {
  if (after.empty())
    return Fail(InvalidArgument("the document is empty; it needs at least 1 byte"));
  if (options.max_tokens < 1 || options.max_tokens > 1024) {
    return Fail(InvalidArgument("max_tokens is " + std::to_string(options.max_tokens) +
                                "; the limit is 1 to 1024"));
  }
  EditResult result;
  auto text = TokenizedText::Create(tokenizer_, before);
  if (!text.has_value()) return Fail(text.error());
  auto ask = engine_.Tokenize(options.ask, true);
  if (!ask.has_value()) return Fail(ask.error());

  if (options.compare) result.before_ids = text->ids();
  if (model_ != nullptr && !text->ids().empty()) {
    auto stored_ms = StoreBefore(document, text->ids(), options);
    if (!stored_ms.has_value()) return Fail(stored_ms.error());
    result.before_ms = *stored_ms;
  }

  const std::int64_t retokenise_ns = clock_.NowNs();
  KVC_FAIL_IF_ERROR(text->Replace(after));
  result.retokenise_ms = static_cast<double>(clock_.NowNs() - retokenise_ns) / 1e6;
  result.document_tokens = static_cast<std::uint32_t>(text->ids().size());
  std::vector<TokenId> prompt = text->ids();
  prompt.insert(prompt.end(), ask->begin(), ask->end());
  if (prompt.size() + options.max_tokens > engine_.context_tokens()) {
    return Fail(InvalidArgument("the prompt has " + std::to_string(prompt.size()) + " tokens and " +
                                std::to_string(options.max_tokens) +
                                " are generated; the context holds " +
                                std::to_string(engine_.context_tokens())));
  }

  std::vector<TokenId> forced;     // what full prefill goes on with
  std::vector<TokenId> generated;  // what the policy's mode goes on with
  LogitRows reference;
  if (options.compared != nullptr) {
    result.full = options.compared->full;
    result.exact = options.compared->exact;
    generated = forced = options.compared->forced;
    reference = options.compared->reference;
  } else if (options.compare || options.policy == Policy::kOff || model_ == nullptr) {
    EditSession session(engine_, nullptr, clock_);
    EditSession::Options everything;
    everything.policy = Policy::kOff;
    auto report = session.Prefill(prompt, everything);
    if (!report.has_value()) return Fail(report.error());
    result.full.report = *report;
    auto continued = Continue(prompt.size(), options.max_tokens);
    if (!continued.has_value()) return Fail(continued.error());
    generated = forced = *continued;
    if (options.compare) {
      auto logits = TeacherForce(engine_, prompt, forced);
      if (!logits.has_value()) return Fail(logits.error());
      reference = std::move(*logits);
    }
  }

  const auto run_mode = [&](Policy policy, ModelHandle* model, ModeResult& mode) -> Status {
    EditSession session(engine_, model, clock_);
    EditSession::Options prefill{.policy = policy,
                                 .document = policy == Policy::kEdit ? document : std::string(),
                                 .store_tokens = result.document_tokens,
                                 .edit = options.edit};
    auto report = session.Prefill(prompt, prefill);
    if (!report.has_value()) return report.error();
    mode.report = *report;
    if (policy == options.policy && (options.generate || !options.compare)) {
      auto continued = Continue(prompt.size(), options.max_tokens);
      if (!continued.has_value()) return continued.error();
      generated = std::move(*continued);
    }
    if (options.compare) {
      auto logits = TeacherForce(engine_, prompt, forced);
      if (!logits.has_value()) return logits.error();
      mode.fidelity = Compare(reference, *logits);
      if (policy == Policy::kEdit) result.logits_hash = HashOf(*logits);
    }
    if (!mode.report.fallback.empty()) return Status();
    const std::int64_t commit_ns = clock_.NowNs();
    auto committed = session.Commit(options.ack);
    if (!committed.has_value()) return committed.error();
    if (policy == options.policy) {
      result.commit_ms = static_cast<double>(clock_.NowNs() - commit_ns) / 1e6;
      result.revision = committed->revision;
    }
    return Status();
  };
  if (model_ != nullptr && options.compared == nullptr &&
      (options.compare || options.policy == Policy::kExact)) {
    KVC_FAIL_IF_ERROR(run_mode(Policy::kExact, options.compare ? baseline_ : model_, result.exact));
  }
  if (model_ != nullptr && options.policy == Policy::kEdit) {
    KVC_FAIL_IF_ERROR(run_mode(Policy::kEdit, model_, result.edit));
  }
  auto generated_text = engine_.Detokenize(generated);
  if (!generated_text.has_value()) return Fail(generated_text.error());
  if (options.compare) {
    result.prompt = std::move(prompt);
    result.forced = std::move(forced);
    result.reference = std::move(reference);
  }
  result.text = std::move(*generated_text);
  return result;
}

Result<double> EditRunner::StoreBefore(const std::string& document, const std::vector<TokenId>& ids,
                                       const EditRunOptions& options) {
  if (ids.size() > engine_.context_tokens()) {
    return Fail(InvalidArgument("the document before the edit has " + std::to_string(ids.size()) +
                                " tokens; the context holds " +
                                std::to_string(engine_.context_tokens())));
  }
  const std::int64_t start_ns = clock_.NowNs();
  EditSession session(engine_, model_, clock_);
  const auto policy = options.policy == Policy::kEdit ? Policy::kEdit : Policy::kExact;
  auto report =
      session.Prefill(ids, {.policy = policy,
                            .document = policy == Policy::kEdit ? document : std::string(),
                            .store_tokens = static_cast<std::uint32_t>(ids.size()),
                            .edit = options.edit});
  if (!report.has_value()) return Fail(report.error());
  if (!report->fallback.empty()) return Fail(Unavailable(report->fallback));
  // The last token of a plan is always computed: a document of which nothing else is was stored
  // before. Its rows may be there without its lineage, as another document's.
  const bool was_stored =
      report->computed <= 1 && (policy != Policy::kEdit || report->parent_revision != 0);
  if (!was_stored) {
    if (auto committed = session.Commit(options.ack); !committed.has_value()) {
      return Fail(committed.error());
    }
    if (options.compare && baseline_ != model_ && report->moved == 0) {
      PlanRequest request;
      request.tokens = ids;
      request.policy = Policy::kExact;
      request.store_tokens = static_cast<std::uint32_t>(ids.size());
      auto plan = baseline_->Plan(request);
      if (!plan.has_value()) return Fail(plan.error());
      auto committed = (*plan)->Commit(
          [this](Position begin, std::uint32_t count, std::byte* destination) {
            return engine_.ReadRows(begin, count, destination);
          },
          options.ack);
      if (!committed.has_value()) return Fail(committed.error());
    }
  }
  return was_stored ? 0.0 : static_cast<double>(clock_.NowNs() - start_ns) / 1e6;
}

Result<std::vector<TokenId>> EditRunner::Continue(std::size_t prompt_tokens, std::uint32_t count) {
  std::vector<TokenId> tokens;
  while (true) {
    const std::span<const float> logits = engine_.Logits(engine_.logit_count() - 1);
    TokenId best = 0;
    float best_logit = -std::numeric_limits<float>::infinity();
    for (std::size_t id = 0; id < logits.size(); ++id) {
      if (logits[id] > best_logit && !engine_.EndsGeneration(static_cast<TokenId>(id))) {
        best = static_cast<TokenId>(id);
        best_logit = logits[id];
      }
    }
    tokens.push_back(best);
    if (tokens.size() == count) break;
    KVC_FAIL_IF_ERROR(engine_.RunToken(best));
  }
  KVC_FAIL_IF_ERROR(engine_.RemoveFrom(static_cast<Position>(prompt_tokens)));
  return tokens;
}

ModelProfile BaselineProfile(ModelProfile profile) {
  profile.numeric_class += "/exact-prefix-baseline";
  return profile;
}

}  // namespace kvcommons
