// For the daemon's tests of teams: what agents' workers do, over the schema, with rows whose
// context effect is known, so that every corrected row can be checked. Keys of a token at a
// position are its own, turned there; behind an agent's prompt everything above layer 0 differs by
// an offset that depends on agent and place.

#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/daemon_testing.h"
#include "kernels/rotate.h"

namespace kvcommons::testing {

using Floats = std::vector<float>;

inline const ModelShape kShape{.layers = 2, .heads = 2, .head_dim = 8};
inline const Tokens kLeadIn = Text(5, 700);
inline constexpr float kUlp16 = 1.0F / 1024;  // of values around 1

inline std::vector<float> Omega() {
  std::vector<float> omega;
  for (unsigned i = 0; i < kShape.head_dim / 2; ++i) {
    omega.push_back(1.0F / static_cast<float>(i + 1));
  }
  return omega;
}

// A row of a plane as the fake model computes it, fp32.
inline Floats RowOf(TokenId token, Position position, std::size_t plane, float offset) {
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

inline _Float16 Half(float value) { return static_cast<_Float16>(value); }

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

  auto AskSegment(rpc::Hash128::Reader version, std::uint32_t segment) {
    auto request = team_.putSegmentRequest();
    request.setVersion(version);
    request.setSegment(segment);
    return request.send().wait(wait());
  }
  // A template's text where it lies with nothing in the slots, unless it is held.
  void PutSegment(rpc::Hash128::Reader version, std::uint32_t segment, const Tokens& tokens,
                  Position position) {
    auto reply = AskSegment(version, segment);
    ASSERT_EQ(MessageOf(reply), "");
    if (reply.getIsHeld()) return;
    const auto stored = Upload(reply.getUpload(), tokens, position);
    ASSERT_EQ(MessageOf(stored), "");
  }

  struct Ask {
    std::vector<Tokens> contents;
    std::uint8_t correction = 1;
    bool correct_text = false;
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
    request.setCorrectText(ask.correct_text);
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

  // Removes all blocks of that class; how many there were.
  std::size_t RemoveBlocks(StorageClass storage_class) {
    auto list = client_.Session().listRequest();
    list.setLimit(1000);
    const auto blocks = list.send().wait(wait());
    std::size_t removed = 0;
    for (const auto block : blocks.getBlocks()) {
      if (block.getStorageClass() != static_cast<std::uint8_t>(storage_class)) continue;
      auto remove = client_.Session().removeRequest();
      remove.setKey(block.getKey());
      removed += remove.send().wait(wait()).getRemoved() ? 1 : 0;
    }
    return removed;
  }

  // Valid until the next.
  rpc::TeamStatus::Reader Status() {
    status_.emplace(team_.statusRequest().send().wait(wait()));
    return status_->getStatus();
  }
  template <typename Response>
  auto Deposit(Response& plan) {
    return plan.getCall().depositRequest().send().wait(wait());
  }

  // What the agent of `plan` answered, handed in as it lies behind a prompt of `position` tokens.
  template <typename Response>
  auto PutAnswer(Response& plan, const Tokens& answer, Position position, float offset = 0) {
    auto put = plan.getCall().putAnswerRequest();
    WriteTokens(answer, put.initTokens(static_cast<unsigned>(answer.size())));
    auto reply = put.send().wait(wait());
    EXPECT_EQ(MessageOf(reply), "");
    EXPECT_FALSE(reply.getIsHeld());
    Upload(reply.getUpload(), answer, position, offset);
    return reply;
  }
  // A prompt with one slot, an answer in it.
  auto PlanOfAnswer(rpc::Hash128::Reader version, const Tokens& tokens, rpc::Hash128::Reader answer,
                    std::uint32_t store_tokens = 0, bool correct_text = false) {
    auto call = team_.planRequest();
    auto request = call.initRequest();
    request.setVersion(version);
    auto content = request.initContents(1)[0];
    WriteTokens(tokens, content.initTokens(static_cast<unsigned>(tokens.size())));
    content.setAnswer(answer);
    request.setStoreTokens(store_tokens);
    request.setCorrectText(correct_text);
    return call.send().wait(wait());
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
  std::optional<capnp::Response<rpc::Team::StatusResults>> status_;
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
    auto ask = AskOf(question);
    ask.correction = correction;
    return Run(worker, question, ask);
  }
  std::string Run(TeamWorker& worker, const Tokens& question, const TeamWorker::Ask& ask) {
    worker.PutText(question);
    const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
    auto plan = worker.Plan(version.getVersion(), ask);
    EXPECT_EQ(MessageOf(plan), "");
    worker.Commit(plan, PartsOf(question));
    std::string outcome = plan.getTeam().getReason().cStr();
    const auto deposit = plan.getCall().depositRequest().send().wait(worker.wait());
    EXPECT_EQ(MessageOf(deposit), "");
    for (const auto slot : deposit.getSlots()) {
      outcome += std::string(", ") + slot.getOutcome().cStr() + (slot.getOfText() ? " text" : "");
    }
    return outcome;
  }
  // The same where the text behind the question is corrected, too.
  static TeamWorker::Ask AskWithText(const Tokens& question) {
    auto ask = AskOf(question);
    ask.correct_text = true;
    return ask;
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

  Daemon::Options WithDisk() {
    Daemon::Options options = daemon_.DefaultOptions();
    options.config.disk_bytes = 128 * kMiB;
    return options;
  }

  static inline const Tokens kHead = Text(21, 800), kTail = Text(9, 801);
  TestDaemon daemon_;
  EventLoop loop_;
};

}  // namespace kvcommons::testing
