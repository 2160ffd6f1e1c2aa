// Composition with everything real: a model, a daemon and its disk. Documents are put, prepared and
// composed from the daemon's memory; what comes out is close to full prefill, does not depend on
// what was asked before, and is never stored.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "agents/engine/fidelity.h"
#include "agents/rag/library_worker.h"
#include "agents/rag/rag_session.h"
#include "base/clock.h"
#include "tests/integration/daemon_process.h"
#include "tests/integration/fp32_engine.h"

namespace kvcommons {
namespace {

using ::testing::HasSubstr;
using Tokens = std::vector<TokenId>;

constexpr std::uint32_t kContextTokens = kTestContextTokens;
constexpr std::uint32_t kSystem = 1U << static_cast<unsigned>(RootKind::kSystem);

// In this order: what is made from the client goes before it.
struct Session {
  std::unique_ptr<Client> client;
  std::unique_ptr<ModelHandle> model;
  std::unique_ptr<LibraryHandle> library;
  std::unique_ptr<RagSession> rag;
};

// A plan whose lease turns out to be lost once its rows have been read.
class LostPlan final : public PlanHandle {
 public:
  explicit LostPlan(std::unique_ptr<PlanHandle> plan) : PlanHandle(*plan), plan_(std::move(plan)) {}
  bool StillHeld() override { return false; }
  Result<CommitOutcome> Commit(const RowReader& /*read_rows*/, UploadAck /*ack*/) override {
    return Fail(Unavailable("the lease is lost"));
  }

 private:
  std::unique_ptr<PlanHandle> plan_;  // The rows stay mapped.
};

class LosingLibrary final : public LibraryHandle {
 public:
  explicit LosingLibrary(LibraryHandle& library) : library_(library) {}
  Result<PutReply> Put(const std::string& name, std::span<const TokenId> tokens,
                       const std::vector<std::string>& related) override {
    return library_.Put(name, tokens, related);
  }
  Result<std::vector<LibraryListing>> List(std::uint32_t limit) override {
    return library_.List(limit);
  }
  Result<std::optional<GetReply>> Get(const std::string& name) override {
    return library_.Get(name);
  }
  Result<bool> Remove(const std::string& name) override { return library_.Remove(name); }
  Result<std::unique_ptr<WorkHandle>> NextWork(std::uint32_t variants) override {
    return library_.NextWork(variants);
  }
  Result<LibraryStatus> GetStatus() override { return library_.GetStatus(); }
  Result<std::unique_ptr<PlanHandle>> Plan(const PlanRequest& request) override {
    auto plan = library_.Plan(request);
    if (!plan) return plan;
    return std::make_unique<LostPlan>(std::move(*plan));
  }

 private:
  LibraryHandle& library_;
};

struct Prompt {
  Tokens tokens;
  std::vector<PlanRequest::Chunk> chunks;
};

// A daemon with nothing in it.
class RagTest : public testing::Test {
 protected:
  void SetUp() override {
    if (TestModelPath().empty()) GTEST_SKIP() << "KVCOMMONS_MODEL names no model";
    engine_ = &Fp32Engine();
    std::ifstream file(KVCOMMONS_QUICKSTART_DATA "/pep-0604.0.rst");
    const std::string text((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
    text_ = engine_->Tokenize(text, false).value();
    ASSERT_GE(text_.size(), 1000U);
    system_ = Part(0, 70);
    // Neither a multiple of the block size nor shorter than it.
    documents_ = {Part(100, 100), Part(200, 130), Part(330, 80)};
    StartDaemon();
  }

  virtual void StartDaemon() {
    own_daemon_ = std::make_unique<DaemonProcess>();
    daemon_ = own_daemon_.get();
    const Status started = daemon_->Start();
    ASSERT_TRUE(started.ok()) << started.ToString();
  }

  Tokens Part(std::size_t begin, std::size_t count) const {
    const auto first = text_.begin() + static_cast<std::ptrdiff_t>(begin);
    return Tokens(first, first + static_cast<std::ptrdiff_t>(count));
  }

  Session Open(std::uint32_t context_tokens = kContextTokens) {
    ModelProfile profile = engine_->profile();
    profile.context_tokens = context_tokens;
    LibraryPrefaces prefaces;
    prefaces.system_tokens = system_;
    prefaces.prefaces = 3;
    prefaces.passages_per_preface = 1;
    prefaces.preface_tokens = 60;
    prefaces.neutral = {Part(500, 60), Part(560, 60), Part(620, 60)};
    Session session;
    session.client = daemon_->Connect().value();
    session.model = session.client->OpenModel(profile, Fp32Gate()).value();
    session.library = session.model->OpenLibrary(prefaces).value();
    session.rag =
        std::make_unique<RagSession>(*engine_, session.model.get(), session.library.get(), clock_);
    return session;
  }

  void PutAll(Session& session) {
    for (std::size_t i = 0; i < documents_.size(); ++i) {
      const auto put = session.library->Put("doc" + std::to_string(i), documents_[i]);
      ASSERT_TRUE(put) << put.error().ToString();
    }
  }

  WorkerReport Prepare(Session& session, std::uint32_t variants = 0) {
    LibraryWorker worker(*engine_, *session.library);
    LibraryWorker::Options options;
    options.variants = variants;
    const auto report = worker.Run(options);
    EXPECT_TRUE(report) << report.error().ToString();
    return report.value_or(WorkerReport{});
  }

  // System prompt, documents in this order, and a question that starts at text token `question`.
  Prompt MakePrompt(const std::vector<std::size_t>& order, std::size_t question = 700) const {
    Prompt prompt{system_, {}};
    for (const std::size_t i : order) {
      const auto begin = static_cast<Position>(prompt.tokens.size());
      prompt.tokens.insert(prompt.tokens.end(), documents_[i].begin(), documents_[i].end());
      prompt.chunks.push_back({begin, static_cast<Position>(prompt.tokens.size())});
    }
    const Tokens tail = Part(question, 12);
    prompt.tokens.insert(prompt.tokens.end(), tail.begin(), tail.end());
    return prompt;
  }

  RagReport Compose(Session& session, const Prompt& prompt,
                    const RagSession::Options& options = NoCanary()) {
    const auto report = session.rag->Compose(prompt.tokens, prompt.chunks, options);
    EXPECT_TRUE(report) << report.error().ToString();
    if (!report) return {};
    EXPECT_EQ(report->total, report->exact + report->canonical + report->fresh);
    EXPECT_EQ(engine_->held_tokens(), prompt.tokens.size());
    return *report;
  }

  static RagSession::Options NoCanary() {
    RagSession::Options options;
    options.canary_share = 0;
    return options;
  }

  static RagSession::Options Rule(const std::string& rule, double budget, bool completion) {
    RagSession::Options options = NoCanary();
    options.compose = {rule, budget, completion, 1};
    return options;
  }

  std::vector<float> Logits() const {
    const auto logits = engine_->Logits(0);
    return {logits.begin(), logits.end()};
  }
  std::vector<float> FullLogits(const Prompt& prompt) {
    engine_->Clear();
    EXPECT_TRUE(engine_->RunRest(prompt.tokens).ok());
    return Logits();
  }
  double KlOf(const Prompt& prompt) {
    const std::vector<float> composed = Logits();
    return KlDivergence(FullLogits(prompt), composed);
  }

  Engine* engine_ = nullptr;
  SystemClock clock_;
  Tokens text_, system_;
  std::vector<Tokens> documents_;
  DaemonProcess* daemon_ = nullptr;

 private:
  std::unique_ptr<DaemonProcess> own_daemon_;
};

// A daemon that all of these share, whose library has the three documents, prepared: preparing
// takes most of a test's time.
class PreparedRagTest : public RagTest {
 protected:
  static void TearDownTestSuite() { shared_daemon.reset(); }

  void StartDaemon() override {
    if (shared_daemon != nullptr) {
      daemon_ = shared_daemon.get();
      return;
    }
    shared_daemon = std::make_unique<DaemonProcess>();
    daemon_ = shared_daemon.get();
    const Status started = daemon_->Start();
    ASSERT_TRUE(started.ok()) << started.ToString();
    Session session = Open();
    PutAll(session);
    EXPECT_EQ(Prepare(session).prepared, 6U);
  }

 private:
  static std::unique_ptr<DaemonProcess> shared_daemon;
};
std::unique_ptr<DaemonProcess> PreparedRagTest::shared_daemon;

TEST_F(RagTest, ADocumentIsComputedThenServedFromSystemThenFromMean) {
  Session session = Open();
  PutAll(session);
  const Prompt prompt = MakePrompt({0, 1, 2});
  const RagReport before = Compose(session, prompt);
  EXPECT_EQ(before.canonical, 0U);
  EXPECT_EQ(before.fallback, "");

  const WorkerReport first = Prepare(session, kSystem);
  EXPECT_EQ(first.prepared, 3U);
  EXPECT_EQ(first.prefills, 1U + 3U);  // The preface once.
  const RagReport system = Compose(session, prompt);
  EXPECT_EQ(system.canonical, 310U) << system.explanation;
  EXPECT_FALSE(system.completion);
  EXPECT_THAT(system.not_completed, HasSubstr("with loadings"));
  for (const auto& chunk : system.chunks) EXPECT_EQ(chunk.variant, RootKind::kSystem);
  EXPECT_LT(KlOf(prompt), 0.2);

  const WorkerReport second = Prepare(session);
  EXPECT_EQ(second.prepared, 3U);
  EXPECT_EQ(second.prefills, 3U + 9U);
  const RagReport mean = Compose(session, prompt);
  EXPECT_EQ(mean.canonical, 310U) << mean.explanation;
  EXPECT_TRUE(mean.completion);
  EXPECT_GT(mean.corrected_rows, 0U);
  EXPECT_GT(mean.recomputed, 0U);
  EXPECT_LE(mean.charged, 0.17 + 1e-9);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(mean.chunks[i].variant, RootKind::kMean);
    EXPECT_EQ(mean.chunks[i].document, "doc" + std::to_string(i));
    EXPECT_GT(mean.chunks[i].deviation.value_or(0), 0);
  }
  EXPECT_LT(KlOf(prompt), 0.1);
}

TEST_F(PreparedRagTest, AllRowsRecomputedEqualFullPrefill_I6) {
  Session session = Open();
  const Prompt prompt = MakePrompt({2, 0, 1});
  for (const bool completion : {false, true}) {
    const RagReport report = Compose(session, prompt, Rule("all", 1, completion));
    EXPECT_EQ(report.recomputed, 310U);
    EXPECT_LT(KlOf(prompt), 1e-5);
  }
}

TEST_F(PreparedRagTest, WhatComesFromTheDaemonIsWhatTheEngineMakesAlone) {
  // The same prefaces, without a daemon between: rows in one piece, not in blocks.
  std::vector<Tokens> prefaces;
  for (const std::size_t begin : std::vector<std::size_t>{500, 560, 620}) {
    prefaces.push_back(system_);
    const Tokens passage = Part(begin, 60);
    prefaces.back().insert(prefaces.back().end(), passage.begin(), passage.end());
  }
  const Prompt prompt = MakePrompt({1, 0});
  auto maker = CanonicalMaker::Create(*engine_, prefaces);
  ASSERT_TRUE(maker) << maker.error().ToString();
  const std::vector<CanonicalChunk> chunks = {maker->Make(documents_[1]).value(),
                                              maker->Make(documents_[0]).value()};
  Composer alone(*engine_, {prompt.tokens,
                            {},
                            {ViewOf(chunks[0], prompt.chunks[0].begin),
                             ViewOf(chunks[1], prompt.chunks[1].begin)}});
  const auto wanted = alone.Run({});
  ASSERT_TRUE(wanted) << wanted.error().ToString();
  const std::vector<float> logits = Logits();

  Session session = Open();
  const RagReport report = Compose(session, prompt);
  EXPECT_EQ(report.canonical, wanted->reused);
  EXPECT_EQ(report.recomputed, wanted->recomputed);
  EXPECT_EQ(report.corrected_rows, wanted->corrected_rows);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_NEAR(report.chunks[i].deviation.value_or(0), wanted->deviation[i], 1e-3);
  }
  EXPECT_LT(KlDivergence(logits, Logits()), 1e-6);
}

TEST_F(PreparedRagTest, TheControllersBudgetIsSpentAndExplained) {
  Session session = Open();
  RagSession::Options options = Rule("boundary", 0, true);
  options.compose.auto_budget = AutoBudget{};
  const RagReport report = Compose(session, MakePrompt({0, 1, 2}), options);
  ASSERT_TRUE(report.budget_auto.has_value());
  // Copying rows is far faster than computing them: the least, 15 % of 310 rows.
  EXPECT_EQ(report.recomputed, 47U);
  EXPECT_NEAR(report.budget_auto->ratio, 47.0 / 310, 1e-9);
  EXPECT_NEAR(report.charged, report.budget_auto->budget, 1e-9);
  EXPECT_THAT(report.explanation, HasSubstr(report.budget_auto->why));
  options.compose.auto_budget->least_ratio = 0.3;
  EXPECT_EQ(Compose(session, MakePrompt({0, 1, 2}), options).recomputed, 93U);
  EXPECT_EQ(report.budget_auto->cheapest_tier, "") << "nothing came from the disk";
}

TEST_F(PreparedRagTest, WhatThePlanReadFromDiskTellsWhichTierWouldDo) {
  daemon_->Kill();
  ASSERT_TRUE(daemon_->Start().ok());
  Session session = Open();
  RagSession::Options options = Rule("boundary", 0, true);
  options.compose.auto_budget = AutoBudget{};
  const RagReport read = Compose(session, MakePrompt({0, 1, 2}), options);
  EXPECT_GT(read.loaded_blocks, 0U);
  EXPECT_GT(read.loaded_ms, 0);
  EXPECT_LE(read.loaded_ms, read.plan_ms);
  ASSERT_TRUE(read.budget_auto.has_value()) << read.fallback;
  EXPECT_NE(read.budget_auto->cheapest_tier, "");
  const RagReport held = Compose(session, MakePrompt({2, 1, 0}), options);
  EXPECT_EQ(held.loaded_blocks, 0U);
  EXPECT_EQ(held.loaded_ms, 0);
  EXPECT_NE(held.budget_auto->cheapest_tier, "") << "remembered";
}

TEST_F(PreparedRagTest, AnotherOrderOfTheDocumentsNeedsNoPreparation) {
  Session session = Open();
  for (const auto& order : std::vector<std::vector<std::size_t>>{{0, 1, 2}, {2, 1, 0}, {1, 2}}) {
    const Prompt prompt = MakePrompt(order);
    const RagReport report = Compose(session, prompt);
    EXPECT_EQ(report.canonical, prompt.tokens.size() - system_.size() - 12) << report.explanation;
    EXPECT_LT(KlOf(prompt), 0.1);
  }
  EXPECT_EQ(Prepare(session, kSystem | 1U << static_cast<unsigned>(RootKind::kMean)).prepared, 0U);
}

TEST_F(PreparedRagTest, AnswersDoNotDependOnWhatWasAskedBefore_Gate5) {
  const std::vector<Prompt> prompts = {MakePrompt({0, 1, 2}), MakePrompt({2, 0, 1}, 720),
                                       MakePrompt({1, 2}, 740)};
  RagSession::Options options = NoCanary();
  options.store_tokens = kContextTokens;
  const auto ask = [&](Session& session, const Prompt& prompt) {
    const RagReport report = Compose(session, prompt, options);
    EXPECT_GT(report.canonical, 0U) << report.fallback << report.explanation;
    std::vector<float> logits = Logits();
    const auto stored = session.rag->Commit(UploadAck::kDurable);
    EXPECT_TRUE(stored) << stored.error().ToString();
    return logits;
  };
  std::vector<std::vector<float>> first(prompts.size());
  {
    Session session = Open();
    ask(session, MakePrompt({0}));  // Now the system prompt's rows are stored.
    for (std::size_t i = 0; i < prompts.size(); ++i) first[i] = ask(session, prompts[i]);
  }
  daemon_->Kill();
  ASSERT_TRUE(daemon_->Start().ok());
  Session session = Open();
  for (std::size_t i = prompts.size(); i-- > 0;) EXPECT_EQ(ask(session, prompts[i]), first[i]) << i;
}

TEST_F(PreparedRagTest, AStoreThatWasPreparedInAnotherOrderGivesTheSameBits_Gate5) {
  Prompt prompt = MakePrompt({0, 1, 2});
  const Tokens head = Part(30, system_.size());  // Of which neither store has exact rows.
  std::copy(head.begin(), head.end(), prompt.tokens.begin());
  Session session = Open();
  EXPECT_EQ(Compose(session, prompt).canonical, 310U);
  const std::vector<float> wanted = Logits();

  DaemonProcess other;
  ASSERT_TRUE(other.Start().ok());
  daemon_ = &other;
  Session second = Open();
  for (const std::size_t i : std::vector<std::size_t>{2, 0, 1}) {
    ASSERT_TRUE(second.library->Put("other" + std::to_string(i), documents_[i]));
    Prepare(second);
  }
  EXPECT_EQ(Compose(second, prompt).canonical, 310U);
  EXPECT_EQ(Logits(), wanted);
}

TEST_F(PreparedRagTest, BlendedRowsAreNeverStored_I3) {
  Session session = Open();
  const std::size_t before = session.client->List(10'000).value().blocks.size();
  const Prompt prompt = MakePrompt({0, 1, 2});
  // Rows that residual completion corrected, and those that a rule's own did.
  for (const bool completion : {true, false}) {
    RagSession::Options options = Rule(completion ? "design" : "shift", 0.17, completion);
    options.store_tokens = kContextTokens;
    const RagReport report = Compose(session, prompt, options);
    EXPECT_EQ(report.canonical, 310U);
    EXPECT_EQ(report.completion, completion);
    EXPECT_GT(report.corrected_rows, 0U);
    ASSERT_TRUE(session.rag->Commit(UploadAck::kHeld));
  }
  const auto lookup = session.model->Lookup(prompt.tokens, 1);
  ASSERT_TRUE(lookup);
  EXPECT_GT(lookup->exact_tokens, 0U);
  EXPECT_LE(lookup->exact_tokens, system_.size());
  // 64 tokens of the system prompt, as a prefill computes them, and nothing else.
  EXPECT_LE(session.client->List(10'000).value().blocks.size(), before + 1);
  PlanRequest request;
  request.tokens = prompt.tokens;
  request.policy = Policy::kExact;
  const auto plan = session.model->Plan(request);
  ASSERT_TRUE(plan);
  engine_->Clear();
  ASSERT_TRUE(engine_->RunRest(prompt.tokens).ok());
  std::vector<std::byte> rows(engine_->profile().planes().BlockBytes(64));
  ASSERT_TRUE(engine_->ReadRows(0, 64, rows.data()).ok());
  ASSERT_EQ((*plan)->spans[0].block_tokens, 64U);
  const auto* stored = reinterpret_cast<const float*>((*plan)->spans[0].block);
  const auto* full = reinterpret_cast<const float*>(rows.data());
  double error = 0, size = 0;
  for (std::size_t i = 0; i < rows.size() / sizeof(float); ++i) {
    error += std::pow(double{stored[i]} - full[i], 2);
    size += std::pow(double{full[i]}, 2);
  }
  EXPECT_LT(std::sqrt(error / size), 1e-5);
}

TEST_F(PreparedRagTest, ALaterTokenChangesNoEarlierRow_I5) {
  Session session = Open();
  // A rule that does not look at the question.
  const auto rows_with = [&](std::size_t question) {
    const Prompt prompt = MakePrompt({0, 1, 2}, question);
    EXPECT_GT(Compose(session, prompt, Rule("boundary", 0.3, true)).corrected_rows, 0U);
    const auto count = static_cast<std::uint32_t>(prompt.chunks.back().end);
    std::vector<std::byte> rows(engine_->profile().planes().BlockBytes(count));
    EXPECT_TRUE(engine_->ReadRows(0, count, rows.data()).ok());
    return rows;
  };
  EXPECT_EQ(rows_with(700), rows_with(800));
}

TEST_F(RagTest, ADocumentThatIsRemovedServesThePlanThatHoldsItAndNoOther) {
  Session session = Open();
  PutAll(session);
  Prepare(session, kSystem);
  const Prompt prompt = MakePrompt({0, 1, 2});
  const RagSession::Options options = Rule("design", 0.17, false);
  EXPECT_GT(Compose(session, prompt, options).canonical, 0U);
  const std::vector<float> wanted = Logits();

  PlanRequest request;
  request.tokens = prompt.tokens;
  request.chunks = prompt.chunks;
  const auto plan = session.library->Plan(request);
  ASSERT_TRUE(plan) << plan.error().ToString();
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(session.library->Remove("doc" + std::to_string(i)).value_or(false), true);
  }
  PlanParts parts = PartsOf((*plan)->spans, prompt.chunks);
  Composer composer(*engine_, {prompt.tokens, parts.exact, parts.chunks});
  const auto report = composer.Run(options.compose);
  ASSERT_TRUE(report) << report.error().ToString();
  EXPECT_TRUE((*plan)->StillHeld());
  EXPECT_EQ(Logits(), wanted);

  EXPECT_EQ(Compose(session, prompt).canonical, 0U);
}

TEST_F(PreparedRagTest, WithoutItsDaemonAPromptIsComputedInFull) {
  Session session = Open();
  const Prompt prompt = MakePrompt({0, 1, 2});
  EXPECT_EQ(Compose(session, prompt).fallback, "");
  daemon_->Kill();
  const RagReport report = Compose(session, prompt);
  EXPECT_EQ(report.fresh, report.total);
  EXPECT_NE(report.fallback, "");
  const std::vector<float> logits = Logits();
  EXPECT_EQ(logits, FullLogits(prompt));
  EXPECT_FALSE(session.rag->Commit(UploadAck::kHeld));
  session = {};
  ASSERT_TRUE(daemon_->Start().ok());  // For the tests that come after.
}

TEST_F(PreparedRagTest, ALeaseLostWhileRowsAreReadIsAnsweredInFull) {
  Session session = Open();
  LosingLibrary losing(*session.library);
  RagSession rag(*engine_, session.model.get(), &losing, clock_);
  const Prompt prompt = MakePrompt({0, 1, 2});
  const auto report = rag.Compose(prompt.tokens, prompt.chunks, NoCanary());
  ASSERT_TRUE(report) << report.error().ToString();
  EXPECT_THAT(report->fallback, HasSubstr("the lease was lost while rows were read"));
  EXPECT_EQ(report->fresh, report->total);
  EXPECT_EQ(report->chunks[0].variant, RootKind::kEmpty);
  const std::vector<float> logits = Logits();
  EXPECT_EQ(logits, FullLogits(prompt));
  EXPECT_FALSE(rag.Commit(UploadAck::kHeld));
}

TEST_F(PreparedRagTest, ACanaryIsReportedAndARuleThatStraysIsSwitchedOff) {
  Session session = Open();
  const Prompt prompt = MakePrompt({1, 0});
  RagSession::Options options;
  options.canary_share = 1;
  Compose(session, prompt, options);
  const auto canary = session.rag->RunCanary();
  ASSERT_TRUE(canary) << canary.error().ToString();
  ASSERT_TRUE(canary->has_value());
  EXPECT_EQ((*canary)->rule, "design-completion");
  EXPECT_GT((*canary)->kl, 0);
  EXPECT_EQ((*canary)->quality.samples, 1U);
  EXPECT_FALSE(session.rag->RunCanary().value().has_value());

  for (int i = 0; i < 64; ++i) {
    ASSERT_TRUE(session.model->ReportQuality("design-completion", 50, 0));
  }
  const RagReport report = Compose(session, prompt, options);
  EXPECT_EQ(report.canonical, 0U);
  EXPECT_THAT(report.not_composed, HasSubstr("design-completion is switched off"));
  EXPECT_LT(KlOf(prompt), 1e-6);
  // Another pair goes on.
  EXPECT_GT(Compose(session, prompt, Rule("design", 0.17, false)).canonical, 0U);
  ASSERT_TRUE(session.model->ResetQuality("design-completion").ok());
  EXPECT_GT(Compose(session, prompt, options).canonical, 0U);
}

TEST_F(RagTest, ADocumentTooLongForTheContextIsPassedOverAndTheOthersPrepared) {
  // The daemon is told of a longer context than this engine has.
  Session session = Open(2 * kContextTokens);
  ASSERT_TRUE(session.library->Put("long", Tokens(kContextTokens - 20, 7)));
  ASSERT_TRUE(session.library->Put("short", documents_[2]));
  std::vector<std::string> skipped;
  LibraryWorker worker(*engine_, *session.library);
  LibraryWorker::Options options;
  options.on_done = [&](const WorkDone& done) {
    if (!done.skipped.empty()) skipped.push_back(done.document + ": " + done.skipped);
  };
  const auto report = worker.Run(options);
  ASSERT_TRUE(report) << report.error().ToString();
  EXPECT_EQ(report->prepared, 2U);
  ASSERT_EQ(skipped.size(), 2U);  // system and mean
  EXPECT_THAT(skipped[0], HasSubstr("long: the document has 1004 tokens"));
  EXPECT_EQ(worker.Run({}).value().skipped, 0U);  // Told of once.
}

TEST_F(RagTest, TheCommandsPutPrepareAndCompose) {
  const std::string folder = daemon_->folder();
  setenv("KVCOMMONS_SOCKET", "/nowhere", 1);  // What is given goes before it.
  const auto engine = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), KVCOMMONS_ENGINE_BINARY);
    // Rows are kept as fp16 here: another model to the daemon than the other tests'.
    for (const char* more : {"--fixed-costs", "--context", "1024"}) arguments.emplace_back(more);
    arguments.insert(arguments.end(), {"--daemon", daemon_->socket_path()});
    return RunProgram(arguments);
  };
  std::ofstream(folder + "/one.txt") << engine_->Detokenize(documents_[0]).value();
  std::ofstream(folder + "/two.txt") << engine_->Detokenize(documents_[1]).value();
  std::ofstream(folder + "/empty.txt") << "";
  std::ofstream(folder + "/cases.jsonl")
      << R"({"id":"a","chunks":[{"doc":"two.txt"},{"doc":"one.txt"},"New text."],"question":"What?","answer":"it"})"
      << '\n';
  std::ofstream(folder + "/unknown.jsonl") << R"({"chunks":[{"doc":"three"}],"question":"What?"})";

  const auto put =
      engine({"library", "put", folder + "/one.txt", folder + "/two.txt", "--related", "one.txt"});
  ASSERT_EQ(put.exit_code, 0) << put.output;
  const auto prepare = engine({"library", "prepare", "--variants", "system"});
  ASSERT_EQ(prepare.exit_code, 0) << prepare.output;
  EXPECT_THAT(prepare.output, HasSubstr("2 prepared, 0 passed over"));
  const auto rag = engine({"rag", "--cases", folder + "/cases.jsonl", "--compare", "--max-tokens",
                           "8", "--json", folder + "/rag.json"});
  ASSERT_EQ(rag.exit_code, 0) << rag.output;
  std::ifstream file(folder + "/rag.json");
  const auto rows = nlohmann::json::parse(file, nullptr, false);
  ASSERT_EQ(rows.size(), 1U) << rag.output;
  const auto& row = rows[0];
  EXPECT_EQ(row["chunks"][0]["variant"], "system");
  EXPECT_EQ(row["chunks"][0]["document"], "two.txt");
  EXPECT_EQ(row["chunks"][2]["variant"], "empty");
  EXPECT_EQ(row["completion"], false);
  EXPECT_LT(row["kl"].get<double>(), 0.5);
  EXPECT_GT(row["prep_ms"].get<double>(), 0);
  EXPECT_LE(row["charged"].get<double>(), 0.17 + 1e-9);
  EXPECT_EQ(row["stall_ms"].size(), engine_->profile().layer_count);
  EXPECT_GE(row["stall_ms_total"].get<double>(), 0);
  for (const char* field :
       {"setting", "rule", "completion", "budget", "charged", "kl", "kl_low", "kl_high", "top1",
        "recovered", "recovered_system", "f1", "ttft_full_ms", "ttft_ms", "prep_ms", "cases"}) {
    EXPECT_TRUE(row.contains(field)) << field;
  }
  EXPECT_TRUE(row["f1"].is_number());

  // Costs are measured now, and the budget is the loading controller's.
  const auto chosen =
      RunProgram({KVCOMMONS_ENGINE_BINARY, "rag", "--context", "1024", "--daemon",
                  daemon_->socket_path(), "--cases", folder + "/cases.jsonl", "--max-tokens", "1",
                  "--budget", "auto", "--least-ratio", "0.2", "--json", folder + "/auto.json"});
  ASSERT_EQ(chosen.exit_code, 0) << chosen.output;
  std::ifstream auto_file(folder + "/auto.json");
  const auto auto_rows = nlohmann::json::parse(auto_file, nullptr, false);
  ASSERT_EQ(auto_rows.size(), 1U) << chosen.output;
  const auto& auto_row = auto_rows[0];
  EXPECT_NEAR(auto_row["budget_auto"]["ratio"].get<double>(), 0.2, 0.01);
  EXPECT_GT(auto_row["budget_auto"]["load_us"].get<double>(), 0);
  EXPECT_GT(auto_row["budget_auto"]["total_us"].get<double>(),
            auto_row["budget_auto"]["load_us"].get<double>());
  EXPECT_GE(auto_row["budget_auto"]["equal_ratio"].get<double>(), 0);
  EXPECT_EQ(auto_row["budget_auto"]["tier"], "memory");
  EXPECT_GT(auto_row["budget"].get<double>(), 0.2);  // with the look
  EXPECT_THAT(chosen.output, HasSubstr("budget auto: 0.2"));
  EXPECT_TRUE(row["budget_auto"].is_null());

  const auto rag_refused = [&](std::vector<std::string> more, bool by_daemon) {
    std::vector<std::string> arguments{"rag", "--cases", folder + "/cases.jsonl"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    if (by_daemon) return engine(std::move(arguments));
    arguments.insert(arguments.begin(), KVCOMMONS_ENGINE_BINARY);
    return RunProgram(arguments);
  };
  const auto fixed = rag_refused({"--budget", "auto"}, true);
  EXPECT_EQ(fixed.exit_code, 2);
  EXPECT_THAT(fixed.output, HasSubstr("leave --fixed-costs out"));
  const auto alone = rag_refused({"--budget", "auto", "--context", "1024"}, false);
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_THAT(alone.output, HasSubstr("needs --daemon"));
  const auto lots = rag_refused({"--budget", "lots"}, true);
  EXPECT_EQ(lots.exit_code, 2);
  EXPECT_THAT(lots.output, HasSubstr("budget is 'lots'; use auto or a number"));

  const auto timed = rag_refused({"--timed"}, true);
  EXPECT_EQ(timed.exit_code, 2);
  EXPECT_THAT(timed.output, HasSubstr("--timed excludes --daemon"));
  const auto named = rag_refused({"--context", "1024"}, false);
  EXPECT_EQ(named.exit_code, 2);
  EXPECT_THAT(named.output, HasSubstr("document 'two.txt' is a library's; that needs --daemon"));

  const auto unknown = engine({"rag", "--cases", folder + "/unknown.jsonl"});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_THAT(unknown.output, HasSubstr("names document 'three'"));
  const auto empty = engine({"library", "put", folder + "/empty.txt"});
  EXPECT_EQ(empty.exit_code, 2);
  EXPECT_THAT(empty.output, HasSubstr("is empty; a document needs text"));
  const auto variant = engine({"library", "prepare", "--variants", "best"});
  EXPECT_EQ(variant.exit_code, 2);
  EXPECT_THAT(variant.output, HasSubstr("known are sink, system, warm, mean, near"));
  const auto nowhere = RunProgram({KVCOMMONS_ENGINE_BINARY, "library", "prepare"});
  unsetenv("KVCOMMONS_SOCKET");
  EXPECT_EQ(nowhere.exit_code, 1);
  EXPECT_THAT(nowhere.output, HasSubstr("no daemon socket at /nowhere"));
}

TEST_F(RagTest, WhatCannotBeDoneIsRefusedByName) {
  Session session = Open();
  const Prompt prompt = MakePrompt({0});
  const auto refused = [&](const RagSession::Options& options,
                           const std::vector<PlanRequest::Chunk>& chunks) {
    const auto report = session.rag->Compose(prompt.tokens, chunks, options);
    return report ? std::string() : report.error().message();
  };
  EXPECT_THAT(refused(Rule("best", 0.1, true), prompt.chunks), HasSubstr("known are"));
  EXPECT_THAT(refused(Rule("design", 1.5, true), prompt.chunks), HasSubstr("budget is 1.5"));
  EXPECT_THAT(refused(NoCanary(), {{10, 5}}), HasSubstr("chunks[0] is [10, 5)"));
  RagSession::Options options = Rule("none", 0, false);
  options.compose.auto_budget = AutoBudget{};
  EXPECT_THAT(refused(options, prompt.chunks), HasSubstr("rule 'none' takes no budget"));
  options = Rule("design", 0, false);
  options.compose.auto_budget = AutoBudget{0.6, 0.5};
  EXPECT_THAT(refused(options, prompt.chunks), HasSubstr("least_ratio is 0.6"));
}

}  // namespace
}  // namespace kvcommons
