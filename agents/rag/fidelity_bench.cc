#include "agents/rag/fidelity_bench.h"

#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>

#include "agents/engine/elapsed.h"
#include "agents/engine/fidelity.h"
#include "agents/engine/teacher_force.h"
#include "agents/rag/decode_repair.h"
#include "align/complete/loadings.h"
#include "kernels/loadings_layout.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kSink = 0, kSystem = 1, kMean = 2;
constexpr std::array<std::string_view, 5> kVariants{"sink", "system", "mean", "near", "together"};

// Where attention outputs are compared: a few of the forced rows, every third layer.
constexpr Position kProbedRows = 4;
constexpr std::uint32_t kProbedEvery = 3;

double Cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += double{a[i]} * b[i];
    aa += double{a[i]} * a[i];
    bb += double{b[i]} * b[i];
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 1;
}

std::string Digest(const Json& json) {
  const std::string text = json.dump();
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::string hex;
  for (const unsigned char byte : digest) {
    constexpr const char* kDigits = "0123456789abcdef";
    hex += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return hex;
}

// The same chunk with fewer loadings, the largest, and the variance of the others left over.
CanonicalChunk CutToRank(const CanonicalChunk& chunk, std::uint32_t rank) {
  CanonicalChunk cut = chunk;
  cut.rank = rank;
  cut.loadings.clear();
  const std::size_t rows = chunk.tokens.size(), stride = rows * chunk.rank + 1;
  for (std::size_t layer = 0; layer < chunk.loadings.size(); layer += stride) {
    double left = 0;
    for (std::size_t row = 0; row < rows; ++row) {
      const float* u = &chunk.loadings[layer + row * chunk.rank];
      cut.loadings.insert(cut.loadings.end(), u, u + rank);
      for (std::uint32_t k = rank; k < chunk.rank; ++k) left += double{u[k]} * u[k];
    }
    cut.loadings.push_back(chunk.loadings[layer + stride - 1] +
                           static_cast<float>(left / static_cast<double>(rows)));
  }
  return cut;
}

}  // namespace

Result<FidelityBench> FidelityBench::Create(Engine& engine, const FidelityOptions& options) {
  if (options.completion != "on" && options.completion != "off" && options.completion != "both") {
    return Fail(
        InvalidArgument("--completion is '" + options.completion + "'; use on, off or both"));
  }
  for (const std::string& rule : options.rules) {
    if (auto made = MakeSelectRule(rule); !made) return Fail(made.error());
  }
  for (const std::string& variant : options.variants) {
    if (std::find(kVariants.begin(), kVariants.end(), variant) == kVariants.end()) {
      return Fail(InvalidArgument("variant '" + variant +
                                  "' is unknown; known are sink, system, mean, near, together"));
    }
  }
  std::vector<double> budgets;
  for (const std::string& text : options.budgets) {
    const auto budget = ParseBudget(text);
    if (!budget) return Fail(budget.error());
    if (!*budget) {
      return Fail(InvalidArgument(
          "--budget is 'auto', which needs --daemon: the cases of a table have one budget"));
    }
    budgets.push_back(**budget);
  }
  auto format = PromptFormat::Of(engine, options.prompt);
  if (!format) return Fail(format.error());
  FidelityBench bench(engine, options, std::move(budgets), std::move(*format));
  auto sinks = PromptFormat::Sinks(engine);
  if (!sinks) return Fail(sinks.error());
  const std::vector<TokenId>& system = bench.format_.opening();
  auto neutral = NeutralPrefaces(engine, bench.format_, options.prefaces, options.passages,
                                 options.preface_tokens);
  if (!neutral) return Fail(neutral.error());
  bench.neutral_ = std::move(*neutral);
  using Prefaces = std::vector<std::vector<TokenId>>;
  for (const Prefaces& prefaces : {Prefaces{*sinks}, Prefaces{system}, Prefaces(bench.neutral_)}) {
    auto maker = CanonicalMaker::Create(engine, prefaces);
    if (!maker) return Fail(maker.error());
    bench.makers_.push_back(std::move(*maker));
  }
  if (!options.chunks_path.empty()) {
    const Json made_with = {{"fingerprint", FingerprintOf(engine.profile()).ToHex()},
                            {"prefaces", {system, *sinks, bench.neutral_}},
                            {"passages", options.passages},
                            {"preface_tokens", options.preface_tokens},
                            {"rank", kLoadingsRank},
                            {"loadings", kLoadingsVersion}};
    auto kept = KeptChunks::Open(options.chunks_path, Digest(made_with));
    if (!kept) return Fail(kept.error());
    bench.kept_ = std::move(*kept);
  }
  return bench;
}

// Every other preface of these passages instead of neutral ones, as the daemon's variant `near`.
std::vector<std::vector<TokenId>> FidelityBench::NearPrefaces(
    std::span<const std::vector<TokenId>* const> passages) const {
  std::vector<std::vector<TokenId>> prefaces = neutral_;
  std::size_t next = 0;
  for (std::size_t p = 0; p < prefaces.size(); p += 2) {
    prefaces[p] = format_.opening();
    for (std::uint32_t i = 0; i < options_.passages; ++i, ++next) {
      const std::vector<TokenId>& passage = *passages[next % passages.size()];
      const std::size_t count = std::min<std::size_t>(passage.size(), options_.preface_tokens);
      prefaces[p].insert(prefaces[p].end(), passage.begin(),
                         passage.begin() + static_cast<std::ptrdiff_t>(count));
    }
  }
  return prefaces;
}

Result<std::vector<CanonicalChunk>> FidelityBench::Prepare(const RagCase& rag_case,
                                                           const std::string& variant, Json& line) {
  // All that the chunks may be made behind is part of the name.
  const std::string name = rag_case.setting + " " + rag_case.id + " " + variant + " " +
                           Digest({rag_case.chunks, rag_case.related});
  if (kept_) {
    auto found = kept_->Find(name, std::span(rag_case.chunks).subspan(1));
    if (found) return std::move(*found);
  }
  const SystemClock clock;
  const std::int64_t start_ns = clock.NowNs();
  auto made = MakeChunks(rag_case, variant);
  if (!made) return made;
  line["prep_ms"][variant] = MsSince(clock, start_ns);
  if (kept_) {
    const Status kept = kept_->Keep(name, *made);
    if (!kept.ok()) line["not_kept"] = kept.message();
  }
  return made;
}

Result<std::vector<CanonicalChunk>> FidelityBench::MakeChunks(const RagCase& rag_case,
                                                              const std::string& variant) {
  std::vector<const std::vector<TokenId>*> related;
  for (const auto& passage : rag_case.related) related.push_back(&passage);
  std::optional<CanonicalMaker> near;
  const auto make_near = [&]() -> Status {
    auto made = CanonicalMaker::Create(*engine_, NearPrefaces(related), &makers_[kMean]);
    if (!made) return made.error();
    near = std::move(*made);
    return Status();
  };
  if (variant == "near") KVC_FAIL_IF_ERROR(make_near());
  std::vector<CanonicalChunk> chunks;
  for (std::size_t i = 1; i < rag_case.chunks.size(); ++i) {
    if (variant == "together") {
      related.clear();
      for (std::size_t step = 1; step < rag_case.chunks.size(); ++step) {
        related.push_back(&rag_case.chunks[(i + step) % rag_case.chunks.size()]);
      }
      KVC_FAIL_IF_ERROR(make_near());
    }
    CanonicalMaker& maker = near                  ? *near
                            : variant == "sink"   ? makers_[kSink]
                            : variant == "system" ? makers_[kSystem]
                                                  : makers_[kMean];
    auto chunk = maker.Make(rag_case.chunks[i]);
    if (!chunk) return Fail(chunk.error());
    chunks.push_back(std::move(*chunk));
  }
  return chunks;
}

Status FidelityBench::Force(std::span<const TokenId> prompt, std::span<const TokenId> forced,
                            Reference& into) {
  AttentionProbe probe;
  probe.outputs = true;
  const auto end = static_cast<Position>(prompt.size() + forced.size()) - 1;
  for (Position p = static_cast<Position>(prompt.size()) - 1;
       p < std::min(end, static_cast<Position>(prompt.size()) - 1 + kProbedRows); ++p) {
    probe.rows.push_back(p);
  }
  for (std::uint32_t layer = 1; layer < engine_->profile().layer_count; layer += kProbedEvery) {
    probe.layers.push_back(layer);
  }
  KVC_RETURN_IF_ERROR(engine_->ProbeAttention(std::move(probe)));
  auto logits = TeacherForce(*engine_, prompt, forced);
  if (!logits) return logits.error();
  into.logits = std::move(*logits);
  into.outputs.clear();
  for (const AttentionWeights& weights : engine_->probed()) into.outputs.push_back(weights.outputs);
  return Status();
}

Result<std::string> FidelityBench::Answer(std::span<const TokenId> prompt, const StaleRows& stale) {
  DecodeRepair repair(*engine_, prompt, stale);
  KVC_FAIL_IF_ERROR(repair.RunLast());
  const auto tokens = repair.Generate(options_.forced_tokens);
  if (!tokens) return Fail(tokens.error());
  return engine_->Detokenize(*tokens);
}

Result<Json> FidelityBench::Row(Composer& composer, const RagCase& rag_case,
                                const Reference& reference, const std::string& variant,
                                const ComposerOptions& compose) {
  const auto report = composer.Run(compose);
  if (!report) return Fail(report.error());
  Reference composed;
  KVC_FAIL_IF_ERROR(Force(composer.prompt(), reference.forced, composed));
  std::uint32_t repaired = 0;
  if (!report->stale.rows.empty()) {
    DecodeRepair repair(*engine_, composer.prompt(), report->stale);
    auto logits = repair.TeacherForce(reference.forced);
    if (!logits) return Fail(logits.error());
    composed.logits = std::move(*logits);
    repaired = repair.repaired();
  }
  const Fidelity fidelity = Compare(reference.logits, composed.logits);
  double cosine = 0;
  for (std::size_t i = 0; i < composed.outputs.size(); ++i) {
    cosine += Cosine(reference.outputs[i], composed.outputs[i]) /
              static_cast<double>(composed.outputs.size());
  }
  Json row = {{"variant", variant},
              {"rule", compose.rule},
              {"completion", compose.completion},
              {"budget", compose.budget},
              {"charged", report->charged},
              {"kl", fidelity.kl_mean},
              {"top1", fidelity.top1_agreement},
              {"cosine", cosine},
              {"ttft_ms", report->ttft_ms},
              {"look_ms", report->look_ms},
              {"select_ms", report->select_ms},
              {"place_ms", report->place_ms},
              {"compute_ms", report->compute_ms},
              {"complete_ms", report->complete_ms},
              {"stall_ms", report->stall_ms},
              {"stall_ms_total", StallTotalMs(report->stall_ms)},
              {"corrected", report->corrected},
              {"left_few_rows", report->left_few_rows},
              {"left_worse", report->left_worse},
              {"repaired", repaired}};
  if (options_.answers) {
    // What was repaired for the forced tokens is not the answer's.
    if (repaired > 0) {
      if (const auto again = composer.Run(compose); !again) return Fail(again.error());
    }
    const auto answer = Answer(composer.prompt(), report->stale);
    if (!answer) return Fail(answer.error());
    row["f1"] = AnswerF1(*answer, rag_case.answers);
  }
  return row;
}

FidelitySamples::Wanted FidelityBench::wanted() const {
  Json method = {{"forced_tokens", options_.forced_tokens},
                 {"prefaces", options_.prefaces},
                 {"passages", options_.passages},
                 {"preface_tokens", options_.preface_tokens}};
  if (options_.prompt != PromptText{}) {  // Lines of the usual one do not name it.
    const PromptText& prompt = options_.prompt;
    method["prompt"] = {prompt.system ? Json(*prompt.system) : Json(), prompt.instruction,
                        prompt.chat};
  }
  return {FingerprintOf(engine_->profile()).ToHex(), method.dump(), options_.seed, options_.answers,
          options_.timed};
}

std::vector<FidelityBench::Missing> FidelityBench::MissingOf(
    const std::set<FidelityKey>& known) const {
  std::vector<Missing> all;
  const auto add = [&](const std::string& variant, std::uint32_t rank, bool control) {
    Missing missing{variant, rank > 0 ? variant + "-r" + std::to_string(rank) : variant, rank, {}};
    const auto add_row = [&](const std::string& rule, double budget, bool completion) {
      if (known.contains({missing.name, rule, completion, budget})) return;
      missing.rows.push_back({rule, budget, completion, options_.seed, !options_.place_before});
    };
    add_row("none", 0, false);
    for (const std::string& rule : control ? std::vector<std::string>{} : options_.rules) {
      for (const double budget : budgets_) {
        if (options_.completion != "on") add_row(rule, budget, false);
        if (options_.completion != "off") add_row(rule, budget, true);
      }
    }
    if (!missing.rows.empty()) all.push_back(std::move(missing));
  };
  const auto asked = [&](const std::string& variant) {
    return std::find(options_.variants.begin(), options_.variants.end(), variant) !=
           options_.variants.end();
  };
  // What rows are measured against is always there.
  std::vector<std::string> variants{"sink", "system"};
  for (const std::string& variant : options_.variants) {
    if (variant != "sink" && variant != "system") variants.push_back(variant);
  }
  for (const std::string& variant : variants) {
    if (!asked(variant)) {
      add(variant, 0, true);
      continue;
    }
    for (const std::uint32_t rank : options_.ranks) add(variant, rank, false);
  }
  return all;
}

void FidelityBench::Refuse(const Missing& missing, const ComposerOptions& compose,
                           const std::string& why, Json& line) {
  line["refused"].push_back({{"variant", missing.name},
                             {"rule", compose.rule},
                             {"completion", compose.completion},
                             {"budget", compose.budget},
                             {"why", why}});
}

Status FidelityBench::MeasureComposer(Composer& composer, const RagCase& rag_case,
                                      const Reference& reference, const Missing& missing,
                                      Json& line) {
  for (const ComposerOptions& compose : missing.rows) {
    auto row = Row(composer, rag_case, reference, missing.name, compose);
    if (!row && row.error().code() == Code::kInvalidArgument) {
      // A hole in the table, not a failure.
      Refuse(missing, compose, row.error().message(), line);
      continue;
    }
    if (!row) return row.error();
    line["rows"].push_back(std::move(*row));
  }
  return Status();
}

Result<Json> FidelityBench::Measure(const RagCase& rag_case, const std::set<FidelityKey>& known) {
  const std::vector<Missing> all_missing = MissingOf(known);
  if (all_missing.empty()) return Json();
  std::size_t most = format_.opening().size() + rag_case.tail.size() + options_.forced_tokens;
  for (const auto& chunk : rag_case.chunks) most += chunk.size();
  if (most > engine_->context_tokens()) {
    return Fail(InvalidArgument("case " + rag_case.id + " needs " + std::to_string(most) +
                                " tokens, its answer's included; the context holds " +
                                std::to_string(engine_->context_tokens()) +
                                "; give --context or --chunk-tokens"));
  }
  std::vector<TokenId> head_tokens = format_.opening();
  head_tokens.insert(head_tokens.end(), rag_case.chunks[0].begin(), rag_case.chunks[0].end());
  const auto head = MakeExactHead(*engine_, head_tokens);
  if (!head) return Fail(head.error());
  const SystemClock clock;
  Json line = {
      {"id", rag_case.id},       {"setting", rag_case.setting}, {"revision", kFidelityRevision},
      {"model", wanted().model}, {"method", wanted().method},   {"seed", options_.seed},
      {"timed", options_.timed}, {"prep_ms", Json::object()},   {"rows", Json::array()},
      {"refused", Json::array()}};
  std::vector<TokenId> prompt = head_tokens;
  for (std::size_t i = 1; i < rag_case.chunks.size(); ++i) {
    prompt.insert(prompt.end(), rag_case.chunks[i].begin(), rag_case.chunks[i].end());
  }
  line["reused"] = prompt.size() - head_tokens.size();
  prompt.insert(prompt.end(), rag_case.tail.begin(), rag_case.tail.end());
  line["tokens"] = prompt.size();

  // The reference: full prefill and what it goes on with.
  engine_->Clear();
  const std::int64_t full_ns = clock.NowNs();
  KVC_FAIL_IF_ERROR(engine_->RunRest(prompt));
  line["full_ms"] = MsSince(clock, full_ns);
  Reference reference;
  auto forced = engine_->Generate(options_.forced_tokens);
  if (!forced) return Fail(forced.error());
  if (forced->empty()) return Json();  // It has nothing to say to this.
  reference.forced = std::move(*forced);
  KVC_FAIL_IF_ERROR(engine_->RemoveFrom(static_cast<Position>(prompt.size())));
  KVC_FAIL_IF_ERROR(Force(prompt, reference.forced, reference));
  if (options_.answers) {
    const auto answer = engine_->Detokenize(reference.forced);
    if (!answer) return Fail(answer.error());
    line["f1_full"] = AnswerF1(*answer, rag_case.answers);
    line["full_right"] = AnswerContains(*answer, rag_case.answers);
    // Without any passage: what the model knows, or guesses.
    std::vector<TokenId> bare = format_.opening();
    bare.insert(bare.end(), rag_case.tail.begin(), rag_case.tail.end());
    engine_->Clear();
    KVC_FAIL_IF_ERROR(engine_->RunRest(bare));
    const auto guess = Answer(bare, {});
    if (!guess) return Fail(guess.error());
    line["right_without_context"] = AnswerContains(*guess, rag_case.answers);
  }

  std::vector<CanonicalChunk> chunks;
  std::string prepared_variant;
  for (const Missing& missing : all_missing) {
    if (missing.variant == "near" && rag_case.related.size() < options_.passages) {
      for (const ComposerOptions& compose : missing.rows) {
        Refuse(missing, compose,
               "related has " + std::to_string(rag_case.related.size()) + " passages, a preface " +
                   std::to_string(options_.passages),
               line);
      }
      continue;
    }
    if (missing.variant != prepared_variant) {
      auto prepared = Prepare(rag_case, missing.variant, line);
      if (!prepared) return Fail(prepared.error());
      chunks = std::move(*prepared);
      prepared_variant = missing.variant;
    }
    std::vector<CanonicalChunk> cut;
    for (const CanonicalChunk& chunk : chunks) {
      const bool cuts = missing.rank > 0 && missing.rank < chunk.rank;
      cut.push_back(cuts ? CutToRank(chunk, missing.rank) : chunk);
    }
    ComposePrompt composed{prompt, {head->span()}, {}};
    auto begin = static_cast<Position>(head_tokens.size());
    for (const CanonicalChunk& chunk : cut) {
      composed.chunks.push_back(ViewOf(chunk, begin));
      begin += static_cast<Position>(chunk.tokens.size());
    }
    Composer composer(*engine_, std::move(composed));
    KVC_FAIL_IF_ERROR(MeasureComposer(composer, rag_case, reference, missing, line));
  }
  return line;
}

}  // namespace kvcommons
