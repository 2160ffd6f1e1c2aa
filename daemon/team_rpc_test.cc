// A team over the schema: what agents' workers do, with rows whose context effect is known, so that
// every corrected row can be checked. Keys of a token at a position are its own, turned there;
// behind an agent's prompt everything above layer 0 differs by an offset that depends on agent and
// place.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/daemon_testing.h"
#include "kernels/rotate.h"

namespace kvcommons::testing {
namespace {

using Floats = std::vector<float>;

const ModelShape kShape{.layers = 2, .heads = 2, .head_dim = 8};
const Tokens kLeadIn = Text(5, 700);
constexpr float kUlp16 = 1.0F / 1024;  // of values around 1

std::vector<float> Omega() {
  std::vector<float> omega;
  for (unsigned i = 0; i < kShape.head_dim / 2; ++i) {
    omega.push_back(1.0F / static_cast<float>(i + 1));
  }
  return omega;
}

// A row of a plane as the fake model computes it, fp32.
Floats RowOf(TokenId token, Position position, std::size_t plane, float offset) {
  const KeyRowFormat format{.head_count = kShape.heads,
                            .head_dim = kShape.head_dim,
                            .rotary_dim = kShape.head_dim,
                            .layout = static_cast<PairLayout>(kShape.pair_layout),
                            .type = ElementType::kFp32};
  Floats row(kShape.heads * kShape.head_dim);
  for (std::size_t e = 0; e < row.size(); ++e) {
    const auto hashed = static_cast<float>((token * 37 + static_cast<int>(e * 11 + plane)) % 64);
    row[e] = hashed / 32 - 1 + (plane < 2 ? 0 : offset * (e % 2 == 0 ? 1.0F : -0.5F));
  }
  if (plane % 2 == 1) return row;
  Floats turned(row.size());
  const std::vector<float> omega = Omega();
  RotateRowsReference(format, RotationTable(omega, position),
                      reinterpret_cast<const std::byte*>(row.data()),
                      reinterpret_cast<std::byte*>(turned.data()), 1, format.row_bytes());
  return turned;
}

_Float16 Half(float value) { return static_cast<_Float16>(value); }

// A prompt's part and what the context does to it.
struct Part {
  Tokens tokens;
  float offset = 0;  // of its first row, a hundredth more for each next
};

class TeamWorker {
 public:
  TeamWorker(kj::AsyncIoContext& io, const std::string& socket, const std::string& team = "team",
             std::uint32_t least = 2, bool keeps_anchors = false)
      : client_(io, socket),
        model_(client_.OpenModel(kShape)),
        team_(Open(team, least, keeps_anchors)) {
    staging_ = client_.Staging(kMiB);
  }

  rpc::Team::Client& team() { return team_; }
  rpc::Model::Client& model() { return model_; }
  kj::WaitScope& wait() { return client_.wait(); }
  TestClient& client() { return client_; }

  auto PutTemplate(const std::string& agent, const std::vector<Tokens>& segments,
                   const std::vector<std::string>& slots) {
    auto request = team_.putTemplateRequest();
    auto shape = request.initTemplate();
    shape.setAgent(agent.c_str());
    auto list = shape.initSegments(static_cast<unsigned>(segments.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      WriteTokens(segments[i], list.init(i, static_cast<unsigned>(segments[i].size())));
    }
    auto names = shape.initSlots(static_cast<unsigned>(slots.size()));
    for (unsigned i = 0; i < names.size(); ++i) names.set(i, slots[i].c_str());
    return request.send().wait(wait());
  }

  auto AskText(const Tokens& tokens) {
    auto request = team_.putTextRequest();
    WriteTokens(tokens, request.initTokens(static_cast<unsigned>(tokens.size())));
    return request.send();
  }

  // Stages blocks of rows that begin at `position` and hands them in.
  auto Upload(rpc::TeamUpload::Client upload, const Tokens& tokens, Position position,
              float offset = 0, bool finish = true, unsigned count = 0) {
    const unsigned all = static_cast<unsigned>((tokens.size() + 15) / 16);
    if (count == 0) count = all;
    auto request = upload.commitRequest();
    auto blocks = request.initBlocks(count);
    std::size_t at = 0;
    for (unsigned i = 0; i < count; ++i) {
      const Tokens block = Slice(tokens, i * 16, std::min<std::size_t>(tokens.size(), i * 16 + 16));
      blocks[i].setIndex(i);
      blocks[i].setOffset(at);
      for (std::size_t plane = 0; plane < 2 * kShape.layers; ++plane) {
        for (std::size_t row = 0; row < block.size(); ++row) {
          const std::size_t index = i * 16 + row;
          at += Write(RowOf(block[row], position + static_cast<Position>(index), plane,
                            offset + 0.01F * static_cast<float>(index)),
                      at);
        }
      }
    }
    request.setFinish(finish);
    return request.send().wait(wait());
  }

  // A text's own rows, unless they are held: rows without any offset.
  void PutText(const Tokens& tokens) {
    auto reply = AskText(tokens).wait(wait());
    ASSERT_EQ(MessageOf(reply), "");
    if (reply.getIsHeld()) return;
    rpc::TeamUpload::Client upload = reply.getUpload();
    const auto stored = Upload(upload, tokens, static_cast<Position>(kLeadIn.size()), 0);
    ASSERT_EQ(MessageOf(stored), "");
  }

  struct Ask {
    std::vector<Tokens> contents;
    std::uint8_t correction = 1;
    bool exact = false;
    std::uint32_t first_rows = 0, store_tokens = 0;
    double prefill_us = 2000;
    double gamma = 1;
  };
  auto Plan(rpc::Hash128::Reader version, const Ask& ask) {
    auto call = team_.planRequest();
    auto request = call.initRequest();
    request.setVersion(version);
    auto contents = request.initContents(static_cast<unsigned>(ask.contents.size()));
    for (unsigned i = 0; i < contents.size(); ++i) {
      const Tokens& tokens = ask.contents[i];
      WriteTokens(tokens, contents[i].initTokens(static_cast<unsigned>(tokens.size())));
    }
    request.setCorrection(ask.correction);
    request.setGamma(ask.gamma);
    request.setExact(ask.exact);
    request.setFirstRows(ask.first_rows);
    request.setStoreTokens(ask.store_tokens);
    request.setMinRun(4);
    auto costs = request.initCosts();
    costs.setPrefillUsPerToken(ask.prefill_us);
    return call.send().wait(wait());
  }

  // Computes and commits all that the plan asks back, as `parts` say.
  template <typename Response>
  void Commit(Response& plan, const std::vector<Part>& parts, float value = 0) {
    auto request = plan.getPlan().commitRequest();
    const auto pieces = plan.getReply().getPieces();
    auto staged = request.initPieces(pieces.size());
    std::size_t at = 0;
    for (unsigned i = 0; i < pieces.size(); ++i) {
      staged[i].setBegin(pieces[i].getBegin());
      staged[i].setOffset(at);
      for (std::size_t plane = 0; plane < 2 * kShape.layers; ++plane) {
        for (std::uint32_t row = pieces[i].getBegin(); row < pieces[i].getEnd(); ++row) {
          at += Write(value == 0 ? Exact(parts, row, plane) : Floats(16, value), at);
        }
      }
    }
    const auto committed = request.send().wait(wait());
    ASSERT_EQ(MessageOf(committed), "");
  }

  // The row of an exact prefill.
  static Floats Exact(const std::vector<Part>& parts, std::uint32_t row, std::size_t plane) {
    std::uint32_t begin = 0;
    for (const Part& part : parts) {
      if (row < begin + part.tokens.size()) {
        return RowOf(part.tokens[row - begin], static_cast<Position>(row), plane,
                     part.offset + 0.01F * static_cast<float>(row - begin));
      }
      begin += static_cast<std::uint32_t>(part.tokens.size());
    }
    ADD_FAILURE() << "no part has row " << row;
    return {};
  }

  // A row that the plan reuses, as its reader finds it.
  template <typename Response>
  Floats Read(Response& plan, std::uint32_t row, std::size_t plane) {
    for (const auto span : plan.getReply().getSpans()) {
      if (row < span.getBegin() || row >= span.getEnd()) continue;
      auto request = client_.Session().slabRequest();
      request.setSlabId(span.getSlabId());
      auto response = request.send().wait(wait());
      EXPECT_EQ(MessageOf(response), "");
      const std::byte* const slab =
          client_.Map(response.getMemory(), response.getBytes(), PROT_READ);
      Floats values(kShape.heads * kShape.head_dim);
      const std::size_t row_bytes = values.size() * 2;
      const std::size_t index = span.getFirstRow() + (row - span.getBegin());
      const std::byte* const from =
          slab + span.getOffset() + (plane * span.getBlockTokens() + index) * row_bytes;
      for (std::size_t e = 0; e < values.size(); ++e) {
        _Float16 half;
        std::memcpy(&half, from + 2 * e, 2);
        values[e] = static_cast<float>(half);
      }
      munmap(const_cast<std::byte*>(slab), response.getBytes());
      return values;
    }
    ADD_FAILURE() << "no span covers row " << row;
    return {};
  }

  static void WriteTokens(const Tokens& tokens, capnp::List<std::int32_t>::Builder list) {
    for (unsigned i = 0; i < list.size(); ++i) list.set(i, tokens[i]);
  }

 private:
  rpc::Team::Client Open(const std::string& name, std::uint32_t least, bool keeps_anchors) {
    auto request = model_.openTeamRequest();
    request.setName(name.c_str());
    auto options = request.initOptions();
    WriteTokens(kLeadIn, options.initLeadIn(static_cast<unsigned>(kLeadIn.size())));
    options.setLeastDeposits(least);
    options.setKeepAnchors(keeps_anchors);
    auto response = request.send().wait(client_.wait());
    EXPECT_EQ(MessageOf(response), "");
    return response.getTeam();
  }

  std::size_t Write(const Floats& row, std::size_t at) {
    for (std::size_t e = 0; e < row.size(); ++e) {
      const _Float16 half = Half(row[e]);
      std::memcpy(staging_ + at + 2 * e, &half, 2);
    }
    return 2 * row.size();
  }

  TestClient client_;
  rpc::Model::Client model_;
  rpc::Team::Client team_;
  std::byte* staging_ = nullptr;
};

class TeamRpcTest : public ::testing::Test {
 protected:
  // One agent that reads a question: text, the question with the effect of what stands before it,
  // text.
  static std::vector<Part> PartsOf(const Tokens& question) {
    return {{kHead, 0}, {question, 0.25F}, {kTail, 0.5F}};
  }
  static Tokens Question(TokenId which, std::size_t tokens = 40) { return Text(tokens, which); }

  // The whole of one call: own rows, plan, compute, commit, deposit.
  std::string Run(TeamWorker& worker, const Tokens& question, std::uint8_t correction = 1) {
    worker.PutText(question);
    const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
    auto ask = AskOf(question);
    ask.correction = correction;
    auto plan = worker.Plan(version.getVersion(), ask);
    EXPECT_EQ(MessageOf(plan), "");
    worker.Commit(plan, PartsOf(question));
    std::string outcome = plan.getTeam().getReason().cStr();
    const auto deposit = plan.getCall().depositRequest().send().wait(worker.wait());
    EXPECT_EQ(MessageOf(deposit), "");
    for (const auto slot : deposit.getSlots()) {
      outcome += std::string(", ") + slot.getOutcome().cStr();
    }
    return outcome;
  }
  static TeamWorker::Ask AskOf(const Tokens& question) {
    return {
        .contents = {question},
        .store_tokens = static_cast<std::uint32_t>(kHead.size() + question.size() + kTail.size())};
  }

  // Every row that the plan reuses is the one of an exact prefill.
  template <typename Response>
  void ExpectRowsAreExact(TeamWorker& worker, Response& plan, const std::vector<Part>& parts,
                          float tolerance) {
    std::uint32_t rows = 0;
    for (const auto span : plan.getReply().getSpans()) {
      if (span.getKind() == static_cast<std::uint8_t>(SpanKind::kCompute)) continue;
      EXPECT_EQ(span.getDelta(), 0);
      for (std::uint32_t row = span.getBegin(); row < span.getEnd(); row += 5, ++rows) {
        for (std::size_t plane = 0; plane < 2 * kShape.layers; ++plane) {
          const Floats expected = TeamWorker::Exact(parts, row, plane);
          const Floats found = worker.Read(plan, row, plane);
          for (std::size_t e = 0; e < expected.size(); ++e) {
            // Layer 0 is only turned: one rounding of the base, one of the turn.
            ASSERT_NEAR(found[e], expected[e], plane < 2 ? 2 * kUlp16 : tolerance)
                << "row " << row << " plane " << plane << " element " << e;
          }
        }
      }
    }
    EXPECT_GT(rows, 0u);
  }

  static inline const Tokens kHead = Text(21, 800), kTail = Text(9, 801);
  TestDaemon daemon_;
  EventLoop loop_;
};

TEST_F(TeamRpcTest, AContentIsCorrectedByWhatEarlierOnesTaught) {
  TeamWorker worker(loop_.io, daemon_.socket());
  EXPECT_EQ(Run(worker, Question(1)), "few_deposits, learned");
  EXPECT_EQ(Run(worker, Question(2)), "few_deposits, learned");
  const Tokens third = Question(3);
  worker.PutText(third);
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto plan = worker.Plan(version.getVersion(), AskOf(third));
  ASSERT_EQ(MessageOf(plan), "");
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "corrected");
  EXPECT_TRUE(plan.getTeam().getReuses());
  EXPECT_EQ(plan.getReply().getAnchoredRows(), 40u);
  EXPECT_EQ(plan.getTeam().getSlots()[0].getDeposits(), 2u);
  ExpectRowsAreExact(worker, plan, PartsOf(third), 6 * kUlp16);
  // Nothing approximate is asked back (I3): only what stands before the question, to its last row.
  ASSERT_EQ(plan.getReply().getPieces().size(), 1u);
  EXPECT_EQ(plan.getReply().getPieces()[0].getBegin(), 16u);
  EXPECT_EQ(plan.getReply().getPieces()[0].getEnd(), kHead.size());
  worker.Commit(plan, PartsOf(third));
  auto again = worker.Plan(version.getVersion(), AskOf(third));
  EXPECT_EQ(again.getReply().getExactRows(), kHead.size());
  EXPECT_EQ(again.getReply().getComputedRows(), kTail.size());
  ExpectRowsAreExact(worker, again, PartsOf(third), 6 * kUlp16);
  EXPECT_EQ(plan.getCall().depositRequest().send().wait(worker.wait()).getSlots().size(), 0u);
}

TEST_F(TeamRpcTest, WithoutCorrectionContentsAreTurnedToTheirPlace) {
  TeamWorker worker(loop_.io, daemon_.socket());
  const Tokens question = Question(1);
  worker.PutText(question);
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto ask = AskOf(question);
  ask.correction = 0;
  auto plan = worker.Plan(version.getVersion(), ask);
  EXPECT_TRUE(plan.getTeam().getReuses());
  // The base has its own hundredths a row, and nothing of the agent's quarter.
  ExpectRowsAreExact(worker, plan, {{kHead, 0}, {question, 0}, {kTail, 0}}, 6 * kUlp16);
}

TEST_F(TeamRpcTest, ALongerContentThanEnoughEarlierOnesIsComputed) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1, 40));
  Run(worker, Question(2, 30));
  EXPECT_EQ(Run(worker, Question(3, 31)), "few_long, learned");
  worker.PutText(Question(4, 31));
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  const auto plan = worker.Plan(version.getVersion(), AskOf(Question(4, 31)));
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "corrected");
  EXPECT_EQ(plan.getTeam().getSlots()[0].getCoveredRows(), 31u);
}

TEST_F(TeamRpcTest, AContentThatComesAgainIsExactAndTeachesNothing) {
  TeamWorker worker(loop_.io, daemon_.socket());
  const Tokens question = Question(1);
  Run(worker, question);
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto plan = worker.Plan(version.getVersion(), AskOf(question));
  EXPECT_FALSE(plan.getTeam().getReuses());
  EXPECT_EQ(plan.getReply().getComputedRows(), 1u);
  ExpectRowsAreExact(worker, plan, PartsOf(question), 2 * kUlp16);
  const auto deposit = plan.getCall().depositRequest().send().wait(worker.wait());
  ASSERT_EQ(deposit.getSlots().size(), 1u);
  EXPECT_STREQ(deposit.getSlots()[0].getOutcome().cStr(), "known");
}

TEST_F(TeamRpcTest, EqualRequestsOfEqualEpochsGiveEqualBytesAndADepositMakesAnotherEpoch) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  const Tokens question = Question(3);
  worker.PutText(question);
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto one = worker.Plan(version.getVersion(), AskOf(question));
  auto two = worker.Plan(version.getVersion(), AskOf(question));
  EXPECT_EQ(one.getTeam().getEpoch(), two.getTeam().getEpoch());
  const Floats before = worker.Read(one, 30, 3);
  EXPECT_NE(one.getTeam().getEpoch(), 0u);
  for (std::uint32_t row = 21; row < 61; row += 7) {
    EXPECT_EQ(worker.Read(one, row, 3), worker.Read(two, row, 3));
  }
  // A longer content is computed and teaches.
  EXPECT_EQ(Run(worker, Question(4, 50)), "few_long, learned");
  auto three = worker.Plan(version.getVersion(), AskOf(question));
  EXPECT_TRUE(three.getTeam().getReuses());
  EXPECT_NE(three.getTeam().getEpoch(), one.getTeam().getEpoch());
  // What was leased before still has its bytes (I2).
  EXPECT_EQ(worker.Read(one, 30, 3), before);
}

TEST_F(TeamRpcTest, WhatWasLearnedSurvivesARestart) {
  const auto options = [this] {
    Daemon::Options with_disk = daemon_.DefaultOptions();
    with_disk.config.disk_bytes = 128 * kMiB;
    return with_disk;
  };
  daemon_.Restart(options());
  std::uint64_t epoch = 0;
  const Tokens question = Question(3);
  {
    TeamWorker worker(loop_.io, daemon_.socket());
    Run(worker, Question(1));
    Run(worker, Question(2));
    worker.PutText(question);
    const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
    epoch = worker.Plan(version.getVersion(), AskOf(question)).getTeam().getEpoch();
  }
  daemon_.Restart(options());
  TeamWorker worker(loop_.io, daemon_.socket());
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto plan = worker.Plan(version.getVersion(), AskOf(question));
  EXPECT_TRUE(plan.getTeam().getReuses()) << plan.getTeam().getReason().cStr();
  EXPECT_EQ(plan.getTeam().getEpoch(), epoch);
  ExpectRowsAreExact(worker, plan, PartsOf(question), 6 * kUlp16);
}

TEST_F(TeamRpcTest, TenantsWithEqualNamesAndContentsInfluenceEachOtherInNoByte) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  daemon_.uid = 1001;
  TeamWorker other(loop_.io, daemon_.socket());
  // Not even that the text is held.
  EXPECT_FALSE(other.AskText(Question(1)).wait(other.wait()).getIsHeld());
  EXPECT_EQ(Run(other, Question(3)), "few_deposits, learned");
  const auto status = other.team().statusRequest().send().wait(other.wait()).getStatus();
  ASSERT_EQ(status.getMeans().size(), 1u);
  EXPECT_EQ(status.getMeans()[0].getDeposits(), 1u);
  EXPECT_EQ(status.getPlans(), 1u);
}

TEST_F(TeamRpcTest, TeamsAgentsAndVersionsLearnEachForItself) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  worker.PutText(Question(3));
  const auto other_agent = worker.PutTemplate("judge", {kHead, kTail}, {"question"});
  const auto other_text = worker.PutTemplate("solver", {kHead, Text(9, 802)}, {"question"});
  const auto other_slot = worker.PutTemplate("solver", {kHead, kTail}, {"task"});
  for (const auto* version : {&other_agent, &other_text, &other_slot}) {
    const auto plan = worker.Plan(version->getVersion(), AskOf(Question(3)));
    EXPECT_STREQ(plan.getTeam().getReason().cStr(), "few_deposits");
  }
  TeamWorker other(loop_.io, daemon_.socket(), "another team");
  const auto version = other.PutTemplate("solver", {kHead, kTail}, {"question"});
  const auto plan = other.Plan(version.getVersion(), AskOf(Question(3)));
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "few_deposits");
}

TEST_F(TeamRpcTest, SessionsOfOneTenantShareATeam) {
  TeamWorker one(loop_.io, daemon_.socket()), two(loop_.io, daemon_.socket());
  Run(one, Question(1));
  Run(two, Question(2));
  EXPECT_EQ(Run(one, Question(3)), "corrected");
  EXPECT_EQ(Run(two, Question(4)), "corrected");
}

TEST_F(TeamRpcTest, AnAnswersOwnRowsAreItsProducersAndHaveAMeanOfTheirOwn) {
  TeamWorker worker(loop_.io, daemon_.socket());
  for (TokenId i = 1; i <= 3; ++i) {
    const Tokens question = Question(i), answer = Text(20, 300 + i);
    worker.PutText(question);
    const auto solver = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
    auto asked = worker.Plan(solver.getVersion(), AskOf(question));
    worker.Commit(asked, PartsOf(question));
    auto put = asked.getCall().putAnswerRequest();
    TeamWorker::WriteTokens(answer, put.initTokens(20));
    auto reply = put.send().wait(worker.wait());
    ASSERT_EQ(MessageOf(reply), "");
    ASSERT_FALSE(reply.getIsHeld());
    const auto behind = static_cast<Position>(kHead.size() + question.size() + kTail.size());
    worker.Upload(reply.getUpload(), answer, behind, -0.125F);

    const auto critic = worker.PutTemplate("critic", {kTail, kHead}, {"solver"});
    auto call = worker.team().planRequest();
    auto request = call.initRequest();
    request.setVersion(critic.getVersion());
    auto content = request.initContents(1)[0];
    TeamWorker::WriteTokens(answer, content.initTokens(20));
    content.setAnswer(reply.getContent());
    request.setStoreTokens(50);
    auto plan = call.send().wait(worker.wait());
    ASSERT_EQ(MessageOf(plan), "");
    const std::vector<Part> parts = {{kTail, 0}, {answer, 0.25F}, {kHead, 0}};
    EXPECT_STREQ(plan.getTeam().getReason().cStr(), i < 3 ? "few_deposits" : "corrected");
    if (i == 3) ExpectRowsAreExact(worker, plan, parts, 6 * kUlp16);
    worker.Commit(plan, parts);
    plan.getCall().depositRequest().send().wait(worker.wait());
  }
  const auto status = worker.team().statusRequest().send().wait(worker.wait()).getStatus();
  ASSERT_EQ(status.getMeans().size(), 1u);
  EXPECT_TRUE(status.getMeans()[0].getOfAnswers());
  EXPECT_EQ(status.getMeans()[0].getUses(), 1u);
}

TEST_F(TeamRpcTest, EqualTextsInFlightAreComputedOnce) {
  TeamWorker one(loop_.io, daemon_.socket()), two(loop_.io, daemon_.socket());
  const Tokens text = Question(1);
  auto first = std::make_unique<capnp::Response<rpc::Team::PutTextResults>>(
      one.AskText(text).wait(one.wait()));
  ASSERT_FALSE(first->getIsHeld());
  auto second = two.AskText(text);
  EXPECT_EQ(one.AskText(Question(2)).wait(one.wait()).getIsHeld(), false);  // others go on
  one.Upload(first->getUpload(), text, 5);
  // The first still has its finished upload: nobody waits for its end.
  EXPECT_TRUE(second.wait(two.wait()).getIsHeld());
}

TEST_F(TeamRpcTest, ClientsWithUploadsOfTheirOwnAreNotMadeToWaitForEachOther) {
  TeamWorker one(loop_.io, daemon_.socket()), two(loop_.io, daemon_.socket());
  auto first = one.AskText(Question(1)).wait(one.wait());
  auto second = two.AskText(Question(2)).wait(two.wait());
  const auto refused = one.AskText(Question(2)).wait(one.wait());
  EXPECT_EQ(CodeOf(refused), Code::kUnavailable);
  EXPECT_THAT(MessageOf(refused), ::testing::HasSubstr("this session has 1 of its own to finish"));
  // Nor for itself.
  EXPECT_EQ(CodeOf(one.AskText(Question(1)).wait(one.wait())), Code::kUnavailable);
  one.Upload(first.getUpload(), Question(1), 5);
  EXPECT_TRUE(two.AskText(Question(1)).wait(two.wait()).getIsHeld());
}

TEST_F(TeamRpcTest, TextsBehindAnotherLeadInHaveRowsAndMeansOfTheirOwn) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  auto open = worker.model().openTeamRequest();
  open.setName("team");
  const Tokens other_lead_in = Text(6, 710);
  TeamWorker::WriteTokens(other_lead_in, open.initOptions().initLeadIn(6));
  rpc::Team::Client other = open.send().wait(worker.wait()).getTeam();
  auto ask = other.putTextRequest();
  TeamWorker::WriteTokens(Question(1), ask.initTokens(40));
  auto reply = ask.send().wait(worker.wait());
  EXPECT_FALSE(reply.getIsHeld());
  worker.Upload(reply.getUpload(), Question(1), 6);
  auto plan = other.planRequest();
  auto request = plan.initRequest();
  request.setVersion(worker.PutTemplate("solver", {kHead, kTail}, {"question"}).getVersion());
  TeamWorker::WriteTokens(Question(1), request.initContents(1)[0].initTokens(40));
  EXPECT_STREQ(plan.send().wait(worker.wait()).getTeam().getReason().cStr(), "few_deposits");
}

TEST_F(TeamRpcTest, ATextsIdIsNoAnswers) {
  TeamWorker worker(loop_.io, daemon_.socket());
  const Tokens text = Question(1);
  worker.PutText(text);
  const auto held = worker.AskText(text).wait(worker.wait());
  auto plan = worker.team().planRequest();
  auto request = plan.initRequest();
  request.setVersion(worker.PutTemplate("solver", {kHead, kTail}, {"question"}).getVersion());
  auto content = request.initContents(1)[0];
  TeamWorker::WriteTokens(text, content.initTokens(40));
  content.setAnswer(held.getContent());
  EXPECT_STREQ(plan.send().wait(worker.wait()).getTeam().getReason().cStr(), "missing_base");
}

TEST_F(TeamRpcTest, AnAnswerOfCorrectedRowsIsCountedAsSuchWhereItTeaches) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  const Tokens question = Question(3), answer = Text(20, 333);
  worker.PutText(question);
  const auto solver = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto asked = worker.Plan(solver.getVersion(), AskOf(question));
  ASSERT_TRUE(asked.getTeam().getReuses());
  auto put = asked.getCall().putAnswerRequest();
  TeamWorker::WriteTokens(answer, put.initTokens(20));
  auto reply = put.send().wait(worker.wait());
  worker.Upload(reply.getUpload(), answer, 70);
  const auto critic = worker.PutTemplate("critic", {kTail, kHead}, {"solver"});
  auto call = worker.team().planRequest();
  auto request = call.initRequest();
  request.setVersion(critic.getVersion());
  auto content = request.initContents(1)[0];
  TeamWorker::WriteTokens(answer, content.initTokens(20));
  content.setAnswer(reply.getContent());
  request.setStoreTokens(50);
  auto plan = call.send().wait(worker.wait());
  worker.Commit(plan, {{kTail, 0}, {answer, 0.25F}, {kHead, 0}});
  plan.getCall().depositRequest().send().wait(worker.wait());
  const auto status = worker.team().statusRequest().send().wait(worker.wait()).getStatus();
  ASSERT_EQ(status.getMeans().size(), 2u);
  EXPECT_STREQ(status.getMeans()[0].getAgent().cStr(), "critic");
  EXPECT_EQ(status.getMeans()[0].getOfCorrected(), 1u);
  EXPECT_EQ(status.getMeans()[1].getOfCorrected(), 0u);
}

TEST_F(TeamRpcTest, AnUploadThatEndsUnfinishedLeavesNothingAndTheNextMayBegin) {
  TeamWorker one(loop_.io, daemon_.socket()), two(loop_.io, daemon_.socket());
  const Tokens text = Question(1);
  {
    auto first = one.AskText(text).wait(one.wait());
    one.Upload(first.getUpload(), text, 5, 0, false, 2);
  }
  auto second = two.AskText(text).wait(two.wait());
  EXPECT_FALSE(second.getIsHeld());
  EXPECT_EQ(MessageOf(two.Upload(second.getUpload(), text, 5)), "");
  EXPECT_TRUE(one.AskText(text).wait(one.wait()).getIsHeld());
}

TEST_F(TeamRpcTest, ReuseThatIsPredictedToBeNoFasterIsRefused) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  worker.PutText(Question(3));
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto ask = AskOf(Question(3));
  ask.prefill_us = 1;
  const auto plan = worker.Plan(version.getVersion(), ask);
  EXPECT_FALSE(plan.getTeam().getReuses());
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "not_worth_it");
}

TEST_F(TeamRpcTest, AnAgentThatAsksForExactRowsGetsNothingElseAndTeachesNothing) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  worker.PutText(Question(3));
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto ask = AskOf(Question(3));
  ask.exact = true;
  auto plan = worker.Plan(version.getVersion(), ask);
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "asked_exact");
  EXPECT_EQ(plan.getReply().getAnchoredRows(), 0u);
  worker.Commit(plan, PartsOf(Question(3)));
  EXPECT_EQ(plan.getCall().depositRequest().send().wait(worker.wait()).getSlots().size(), 0u);
}

TEST_F(TeamRpcTest, DepositsThatCannotBeReadTeachNothingAndSayWhy) {
  TeamWorker worker(loop_.io, daemon_.socket());
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  const auto deposit = [&](auto& plan) {
    const auto reply = plan.getCall().depositRequest().send().wait(worker.wait());
    if (reply.hasError()) return MessageOf(reply);
    return reply.getSlots().size() == 0 ? std::string("nothing asked")
                                        : std::string(reply.getSlots()[0].getOutcome().cStr());
  };
  // No own rows: it is said, and nothing is wanted.
  auto missing = worker.Plan(version.getVersion(), AskOf(Question(1)));
  EXPECT_STREQ(missing.getTeam().getReason().cStr(), "missing_base");
  EXPECT_EQ(deposit(missing), "nothing asked");
  worker.PutText(Question(1));
  auto late = worker.Plan(version.getVersion(), AskOf(Question(1)));
  EXPECT_EQ(deposit(late), "rows_gone");
  auto broken = worker.Plan(version.getVersion(), AskOf(Question(1)));
  worker.Commit(broken, PartsOf(Question(1)), std::numeric_limits<float>::infinity());
  EXPECT_EQ(deposit(broken), "not_finite");
  EXPECT_EQ(deposit(late), "not_finite");  // it could be tried again, now that there are rows
  const auto status = worker.team().statusRequest().send().wait(worker.wait()).getStatus();
  EXPECT_EQ(status.getMeans().size(), 0u);
  EXPECT_EQ(status.getBytes(), 0u);
}

TEST_F(TeamRpcTest, MeansNeverExceedTheTenantsBoundAndTheLeastUsedLeaves) {
  auto options = daemon_.DefaultOptions();
  options.config.team_memory_bytes = 2 * 40 * kShape.token_bytes() + 100;
  daemon_.Restart(std::move(options));
  TeamWorker worker(loop_.io, daemon_.socket());
  const auto held = [&] {
    std::string names;
    const auto status = worker.team().statusRequest().send().wait(worker.wait()).getStatus();
    EXPECT_LE(status.getBytes(), status.getLimitBytes());
    for (const auto mean : status.getMeans()) names += std::string(mean.getAgent().cStr()) + " ";
    return names;
  };
  const auto teach = [&](const std::string& agent, const Tokens& question) {
    worker.PutText(question);
    const auto version = worker.PutTemplate(agent, {kHead, kTail}, {"question"});
    auto plan = worker.Plan(version.getVersion(), AskOf(question));
    worker.Commit(plan, PartsOf(question));
    const auto reply = plan.getCall().depositRequest().send().wait(worker.wait());
    return reply.getSlots().size() == 0 ? std::string(plan.getTeam().getReason().cStr())
                                        : std::string(reply.getSlots()[0].getOutcome().cStr());
  };
  EXPECT_EQ(teach("one", Question(1)), "learned");
  EXPECT_EQ(teach("one", Question(2)), "learned");
  EXPECT_EQ(teach("one", Question(3)), "corrected");  // a use
  EXPECT_EQ(teach("two", Question(1)), "learned");
  EXPECT_EQ(held(), "one two ");
  EXPECT_EQ(teach("three", Question(1)), "learned");
  EXPECT_EQ(held(), "one three ");
  // What cannot be learned makes nobody leave.
  worker.PutText(Question(7));
  const auto version = worker.PutTemplate("four", {kHead, kTail}, {"question"});
  auto broken = worker.Plan(version.getVersion(), AskOf(Question(7)));
  worker.Commit(broken, PartsOf(Question(7)), std::numeric_limits<float>::infinity());
  const auto reply = broken.getCall().depositRequest().send().wait(worker.wait());
  EXPECT_STREQ(reply.getSlots()[0].getOutcome().cStr(), "not_finite");
  EXPECT_EQ(held(), "one three ");
  EXPECT_EQ(teach("four", Question(4, 81)), "pool_bound");  // refused
  EXPECT_EQ(teach("four", Question(5, 90)), "pool_bound");  // not asked for again
  EXPECT_EQ(held(), "one three ");
  EXPECT_EQ(teach("four", Question(6, 40)), "learned");
}

TEST_F(TeamRpcTest, MeansWhoseBlocksAreGoneAreForgottenAndNothingWrongIsServed) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  auto list = worker.client().Session().listRequest();
  list.setLimit(1000);
  const auto blocks = list.send().wait(worker.wait());
  std::size_t removed = 0;
  for (const auto block : blocks.getBlocks()) {
    if (block.getStorageClass() != static_cast<std::uint8_t>(StorageClass::kTeam)) continue;
    auto remove = worker.client().Session().removeRequest();
    remove.setKey(block.getKey());
    removed += remove.send().wait(worker.wait()).getRemoved() ? 1 : 0;
  }
  EXPECT_GT(removed, 3u);
  // The question is put again, and what was learned is not there.
  EXPECT_EQ(Run(worker, Question(3)), "few_deposits, learned");
  EXPECT_EQ(Run(worker, Question(4)), "few_deposits, learned");
  EXPECT_EQ(Run(worker, Question(5)), "corrected");
}

TEST_F(TeamRpcTest, ATrustedMeanIsTheMeanWhereOffsetsAgree) {
  TeamWorker worker(loop_.io, daemon_.socket());
  for (TokenId i = 1; i <= 4; ++i) Run(worker, Question(i, static_cast<std::size_t>(40 + i)));
  const Tokens last = Question(9);
  worker.PutText(last);
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto ask = AskOf(last);
  ask.correction = 3;
  auto plan = worker.Plan(version.getVersion(), ask);
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "corrected");
  // All contents have the same offsets: what differs is rounding.
  ExpectRowsAreExact(worker, plan, PartsOf(last), 6 * kUlp16);
  ask.correction = 1;
  EXPECT_NE(worker.Plan(version.getVersion(), ask).getTeam().getEpoch(), plan.getTeam().getEpoch());
}

TEST_F(TeamRpcTest, AnchorsCorrectByNearnessWhereTheGateLetsThem) {
  TeamWorker worker(loop_.io, daemon_.socket(), "team", 2, true);
  EXPECT_EQ(Run(worker, Question(1), 2), "few_deposits, learned");
  EXPECT_EQ(Run(worker, Question(2), 2), "few_deposits, learned");
  const Tokens third = Question(3);
  worker.PutText(third);
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto ask = AskOf(third);
  ask.correction = 2;
  auto plan = worker.Plan(version.getVersion(), ask);
  ASSERT_EQ(MessageOf(plan), "");
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "corrected");
  EXPECT_EQ(plan.getTeam().getSlots()[0].getDeposits(), 2u);
  EXPECT_GT(plan.getTeam().getSlots()[0].getEntropyBits(), 0);
  // All contents have the same offsets, so whatever the weights the sum is right.
  ExpectRowsAreExact(worker, plan, PartsOf(third), 6 * kUlp16);
  auto again = worker.Plan(version.getVersion(), ask);
  EXPECT_EQ(again.getTeam().getEpoch(), plan.getTeam().getEpoch());
  EXPECT_EQ(worker.Read(again, 30, 2), worker.Read(plan, 30, 2));
  ask.gamma = 0;
  EXPECT_STREQ(worker.Plan(version.getVersion(), ask).getTeam().getReason().cStr(), "spread");
  // Longer than all but one.
  Run(worker, Question(4, 50), 2);
  EXPECT_EQ(Run(worker, Question(5, 45), 2), "few_long, learned");
  EXPECT_EQ(Run(worker, Question(6, 45), 2), "corrected");
}

TEST_F(TeamRpcTest, AContentThatComesAgainIsCorrectedByItsOwnAnchorAlone) {
  TeamWorker worker(loop_.io, daemon_.socket(), "team", 2, true);
  const Tokens question = Question(1);
  Run(worker, question, 2);
  // The prompt's exact rows leave; one anchor would be too few for another content.
  auto list = worker.client().Session().listRequest();
  list.setLimit(1000);
  const auto blocks = list.send().wait(worker.wait());
  for (const auto block : blocks.getBlocks()) {
    if (block.getStorageClass() != static_cast<std::uint8_t>(StorageClass::kExact)) continue;
    auto remove = worker.client().Session().removeRequest();
    remove.setKey(block.getKey());
    EXPECT_TRUE(remove.send().wait(worker.wait()).getRemoved());
  }
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto ask = AskOf(question);
  ask.correction = 2;
  auto plan = worker.Plan(version.getVersion(), ask);
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "corrected");
  EXPECT_EQ(plan.getTeam().getSlots()[0].getDeposits(), 1u);
  ExpectRowsAreExact(worker, plan, PartsOf(question), 6 * kUlp16);
  EXPECT_EQ(Run(worker, Question(2), 2), "few_deposits, learned");
}

TEST_F(TeamRpcTest, AnchorsSurviveARestartAndAreNoOtherTenants) {
  const auto options = [this] {
    Daemon::Options with_disk = daemon_.DefaultOptions();
    with_disk.config.disk_bytes = 128 * kMiB;
    return with_disk;
  };
  daemon_.Restart(options());
  std::uint64_t bytes = 0;
  {
    TeamWorker worker(loop_.io, daemon_.socket(), "team", 2, true);
    Run(worker, Question(1), 2);
    Run(worker, Question(2), 2);
    const auto status = worker.team().statusRequest().send().wait(worker.wait()).getStatus();
    EXPECT_EQ(status.getAnchors(), 2u);
    bytes = status.getAnchorBytes();
    EXPECT_EQ(bytes, 2 * 2 * 40 * kShape.token_bytes());
  }
  daemon_.Restart(options());
  {
    TeamWorker worker(loop_.io, daemon_.socket(), "team", 2, true);
    const auto status = worker.team().statusRequest().send().wait(worker.wait()).getStatus();
    EXPECT_EQ(status.getAnchorBytes(), bytes);
    EXPECT_EQ(Run(worker, Question(3), 2), "corrected");
  }
  daemon_.uid = 1001;
  TeamWorker other(loop_.io, daemon_.socket(), "team", 2, true);
  EXPECT_EQ(Run(other, Question(3), 2), "few_deposits, learned");
}

TEST_F(TeamRpcTest, AnchorsAreBoundedByTheSlotAndByTheTenantsBytes) {
  auto options = daemon_.DefaultOptions();
  const std::uint64_t one = 40 * kShape.token_bytes();
  options.config.team_memory_bytes = one + 4 * one + 10;  // a mean, and two anchors of two
  daemon_.Restart(std::move(options));
  TeamWorker worker(loop_.io, daemon_.socket(), "team", 64, true);
  const auto status = [&] {
    return worker.team().statusRequest().send().wait(worker.wait()).getStatus();
  };
  for (TokenId i = 1; i <= 4; ++i) {
    EXPECT_EQ(Run(worker, Question(i)), "few_deposits, learned");
    EXPECT_LE(status().getBytes(), status().getLimitBytes());
  }
  EXPECT_EQ(status().getAnchors(), 2u);
  EXPECT_EQ(status().getMeans()[0].getDeposits(), 4u);
}

TEST_F(TeamRpcTest, ASlotKeepsNoMoreAnchorsThanTwenty) {
  TeamWorker worker(loop_.io, daemon_.socket(), "team", 64, true);
  for (TokenId i = 1; i <= 23; ++i) Run(worker, Question(i, 17));
  const auto status = worker.team().statusRequest().send().wait(worker.wait()).getStatus();
  EXPECT_EQ(status.getAnchors(), 20u);
}

TEST_F(TeamRpcTest, BadRequestsAreRefusedByFieldValueAndLimitAndChangeNothing) {
  auto larger = daemon_.DefaultOptions();
  larger.config.max_message_bytes = kMiB;
  daemon_.Restart(std::move(larger));
  TeamWorker worker(loop_.io, daemon_.socket());
  const auto put = [&](const std::vector<Tokens>& segments, const std::vector<std::string>& slots,
                       const std::string& agent = "solver") {
    return MessageOf(worker.PutTemplate(agent, segments, slots));
  };
  EXPECT_EQ(put({kHead, kTail}, {"q"}, ""), "agent's length is 0; the limit is 1 to 256");
  EXPECT_EQ(put({kHead, kTail}, {"q"}, "\xff"), "agent is no UTF-8");
  EXPECT_EQ(put({kHead, kTail}, {"q"}, "\xe2\x82"), "agent is no UTF-8");
  EXPECT_EQ(put({kHead, kTail}, {"q"}, "\xe2\x82\xac"), "");
  EXPECT_EQ(put({kHead, kTail}, {"q"}, std::string(257, 'a')),
            "agent's length is 257; the limit is 1 to 256");
  EXPECT_EQ(put({kHead, kTail}, {"q"}, std::string(256, 'a')), "");
  EXPECT_EQ(put({kHead}, {"q"}), "segments' length is 1; the limit is 2 to 2");
  EXPECT_EQ(put({kHead}, {}), "number of slots is 0; the limit is 1 to 64");
  EXPECT_EQ(put({kHead, kTail, kTail}, {"q", "q"}),
            "slot 'q' is in the template twice; give one of them another name");
  EXPECT_EQ(put({kHead, {}, kTail}, {"q", "r"}),
            "segments[1]' length is 0; the limit is 1 to 32768");  // two side by side
  EXPECT_EQ(put({{}, kTail}, {"q"}), "segments[0]' length is 0; the limit is 1 to 32768");
  EXPECT_EQ(put({{1000}, kTail}, {"q"}), "segments[0][0] is 1000; the limit is 0 to 999");

  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"q"});
  const auto plan = [&](const TeamWorker::Ask& ask) {
    return MessageOf(worker.Plan(version.getVersion(), ask));
  };
  EXPECT_EQ(plan({}), "contents has 0 entries; the template of agent 'solver' has 1 slots");
  EXPECT_EQ(plan({.contents = {Question(1), Question(2)}}),
            "contents has 2 entries; the template of agent 'solver' has 1 slots");
  EXPECT_EQ(plan({.contents = {Question(1)}, .first_rows = 1025}),
            "firstRows is 1025; the limit is 0 to 1024");
  EXPECT_EQ(plan({.contents = {Question(1)}, .first_rows = 1024}), "");
  EXPECT_EQ(plan({.contents = {Question(1)}, .correction = 4}),
            "correction is 4; the limit is 0 to 3");
  EXPECT_EQ(plan({.contents = {Question(1)}, .correction = 2}),
            "correction is 2 (anchors); the team was opened without keepAnchors and has none");
  EXPECT_EQ(plan({.contents = {Question(1)}, .gamma = 1.5}),
            "gamma is 1.500000; the limit is 0 to 1");
  EXPECT_EQ(plan({.contents = {Question(1)}, .store_tokens = 71}),
            "storeTokens is 71; the limit is 0 to 70");
  EXPECT_EQ(plan({.contents = {Question(1, 32768)}}),
            "the prompt of agent 'solver' has 32798 tokens behind slot 0; the limit is 32768 "
            "(contextTokens)");
  capnp::MallocMessageBuilder message;
  auto unknown = message.initRoot<rpc::Hash128>();
  unknown.setLow(1);
  EXPECT_EQ(MessageOf(worker.Plan(unknown.asReader(), {.contents = {Question(1)}})),
            "version is 01000000000000000000000000000000; the team has no such template: put it "
            "again");
  EXPECT_EQ(MessageOf(worker.AskText({}).wait(worker.wait())),
            "tokens' length is 0; the limit is 1 to 32763");
  EXPECT_EQ(worker.team().statusRequest().send().wait(worker.wait()).getStatus().getBytes(), 0u);

  const auto open = [&](const std::string& name, const Tokens& lead_in, std::uint32_t least) {
    auto request = worker.model().openTeamRequest();
    request.setName(name.c_str());
    auto options = request.initOptions();
    TeamWorker::WriteTokens(lead_in, options.initLeadIn(static_cast<unsigned>(lead_in.size())));
    options.setLeastDeposits(least);
    return MessageOf(request.send().wait(worker.wait()));
  };
  EXPECT_EQ(open("", kLeadIn, 2), "name's length is 0; the limit is 1 to 256");
  EXPECT_EQ(open("t", {}, 2), "leadIn' length is 0; the limit is 1 to 1024");
  EXPECT_EQ(open("t", Text(1025), 2), "leadIn' length is 1025; the limit is 1 to 1024");
  EXPECT_EQ(open("t", kLeadIn, 0), "leastDeposits is 0; the limit is 1 to 64");
  EXPECT_EQ(open("t", kLeadIn, 65), "leastDeposits is 65; the limit is 1 to 64");
  EXPECT_EQ(open("t", Text(1024), 64), "");
}

}  // namespace
}  // namespace kvcommons::testing
