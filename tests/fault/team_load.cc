// Agents whose context adds one number to every row above layer 0: whatever contents a mean or
// anchors are of, a corrected row is the content's own plus its agent's number, and can be checked.
// What was learned must be known after a kill, once it was acknowledged.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "client/team.h"
#include "kernels/rotate.h"
#include "tests/fault/kill_load.h"
#include "tests/integration/synthetic_model.h"

namespace kvcommons {
namespace {

using Tokens = std::vector<TokenId>;
constexpr std::size_t kAgents = 3;
constexpr std::uint32_t kShortest = 20, kLongest = 60;  // contents
constexpr float kTolerance = 8.0F / 1024;               // a few roundings of halves around 1

class TeamLoad final : public KillLoad {
 public:
  explicit TeamLoad(const DaemonProcess& daemon) : KillLoad(daemon) {
    profile_ = SyntheticProfile();
    profile_.weights_sha256.fill(3);
    for (std::size_t agent = 0; agent < kAgents; ++agent) {
      const auto name = static_cast<TokenId>(100 * agent);
      prompts_.push_back({"agent " + std::to_string(agent),
                          {Run(name + 1, 21), Run(name + 40, 9), Run(name + 60, 7)},
                          {"question", "answer"}});
    }
  }

  Status Check() override {
    auto client = daemon_.Connect("check");
    if (!client) return client.error();
    MutexLock lock(mutex_);
    for (const auto& [round, acknowledged] : acknowledged_) {
      auto session = Open(**client, round);
      if (!session) return session.error();
      const auto status = session->team->GetStatus();
      if (!status) return status.error();
      Deposits known;
      for (const TeamStatusReply::Mean& mean : status->means) {
        known[{mean.agent, mean.slot, mean.of_prompt}] += mean.deposits;
      }
      for (const auto& [what, deposits] : acknowledged) {
        if (known[what] < deposits) lost_ += deposits - known[what];
      }
    }
    return Status();
  }

  void Work(int round, std::size_t /*client_index*/, std::uint64_t seed,
            const std::function<void()>& done) override {
    std::mt19937_64 random(seed);
    auto client = daemon_.Connect("load");
    if (!client) return;
    auto session = Open(**client, round);
    if (!session) return;
    for (;;) {
      const Status status = Call(*session, random);
      done();
      if (status.code() == Code::kUnavailable) return;
      // Waiting for another client's content is the only refusal there is.
      if (!status.ok()) ++wrong_;
    }
  }

  std::size_t acknowledged() override {
    MutexLock lock(mutex_);
    std::size_t all = 0;
    for (const auto& [round, acknowledged] : acknowledged_) {
      for (const auto& [what, deposits] : acknowledged) all += deposits;
    }
    return all;
  }

 private:
  // By agent, slot, and whether of the text behind it.
  using Deposits = std::map<std::tuple<std::string, std::string, bool>, std::size_t>;
  struct Session {
    int round = 0;
    std::unique_ptr<ModelHandle> model;
    std::unique_ptr<TeamHandle> team;
    std::vector<TeamId> versions;
  };

  static Tokens Run(TokenId first, std::size_t count) {
    Tokens tokens(count);
    for (std::size_t i = 0; i < count; ++i) tokens[i] = first + static_cast<TokenId>(i);
    return tokens;
  }
  static float NumberOf(std::size_t agent) { return 0.25F * static_cast<float>(agent + 1); }

  // A team for each round: one that has learned enough learns no more.
  Result<Session> Open(Client& client, int round) const {
    Session session;
    session.round = round;
    auto model = client.OpenModel(profile_, PassedGate());
    if (!model) return Fail(model.error());
    session.model = std::move(*model);
    auto team = session.model->OpenTeam({.name = "round " + std::to_string(round),
                                         .lead_in = Run(900, 5),
                                         .least_deposits = 4,
                                         .keeps_anchors = true});
    if (!team) return Fail(team.error());
    session.team = std::move(*team);
    for (const TeamPrompt& prompt : prompts_) {
      const auto version = session.team->PutTemplate(prompt);
      if (!version) return Fail(version.error());
      session.versions.push_back(*version);
    }
    return session;
  }

  // Row `position` of `plane`, fp32.
  std::vector<float> RowOf(TokenId token, Position position, std::size_t plane,
                           float number) const {
    std::vector<float> row(profile_.head_dim), turned(row.size());
    for (std::size_t e = 0; e < row.size(); ++e) {
      const auto hashed = static_cast<std::size_t>(token) * 37 + e * 11 + plane * 5;
      row[e] = static_cast<float>(hashed % 64) / 64 - 0.5F + (plane < 2 ? 0 : number);
    }
    if (plane % 2 == 1) return row;
    KeyRowFormat format = profile_.key_row();
    format.type = ElementType::kFp32;
    RotateRows(format, RotationTable(profile_.omega, position),
               reinterpret_cast<const std::byte*>(row.data()),
               reinterpret_cast<std::byte*>(turned.data()), 1, format.row_bytes());
    return turned;
  }

  // Rows of `tokens`, the first of which stands at `begin`.
  auto Writer(const Tokens& tokens, Position begin, float number) const {
    return [this, &tokens, begin, number](Position first, std::uint32_t count, std::byte* to) {
      const PlaneLayout planes = profile_.planes();
      for (std::size_t plane = 0; plane < planes.plane_count(); ++plane) {
        for (std::uint32_t i = 0; i < count; ++i) {
          const Position row = first + static_cast<Position>(i);
          const auto values =
              RowOf(tokens[static_cast<std::size_t>(row)], begin + row, plane, number);
          std::byte* at = to + planes.PlaneOffset(plane, count) + i * planes.row_bytes[plane];
          for (std::size_t e = 0; e < values.size(); ++e) {
            const auto half = static_cast<_Float16>(values[e]);
            std::memcpy(at + 2 * e, &half, sizeof half);
          }
        }
      }
      return Status();
    };
  }

  std::size_t WrongRows(const Tokens& prompt, const PlanHandle& plan, float number) {
    const PlaneLayout planes = profile_.planes();
    std::size_t wrong = 0;
    for (const PlannedSpan& span : plan.spans) {
      if (span.block == nullptr) continue;
      for (Position row = span.begin; row < span.end; ++row) {
        for (std::size_t plane = 0; plane < planes.plane_count(); ++plane) {
          const std::byte* const at =
              span.block + planes.PlaneOffset(plane, span.block_tokens) +
              (span.first_row + static_cast<std::size_t>(row - span.begin)) *
                  planes.row_bytes[plane];
          const auto expected = RowOf(prompt[static_cast<std::size_t>(row)], row, plane, number);
          bool is_right = true;
          for (std::size_t e = 0; e < expected.size(); ++e) {
            _Float16 half;
            std::memcpy(&half, at + 2 * e, sizeof half);
            is_right &= std::abs(static_cast<float>(half) - expected[e]) <= kTolerance;
          }
          wrong += is_right ? 0 : 1;
        }
        compared_ += span.kind == SpanKind::kAnchored ? 1 : 0;
      }
    }
    return wrong;
  }

  // Own rows where the daemon wants them.
  Status PutRows(Result<TeamContentReply> reply, const Tokens& tokens, Position begin) const {
    if (!reply) return reply.error();
    if (reply->upload == nullptr) return Status();
    const auto stored = reply->upload->Commit(Writer(tokens, begin, 0), UploadAck::kDurable);
    return stored ? Status() : stored.error();
  }

  // One call of an agent: contents, plan, rows checked, commit, deposit.
  Status Call(Session& session, std::mt19937_64& random) {
    const std::size_t agent = random() % kAgents;
    const TeamPrompt& shape = prompts_[agent];
    TeamPlanAsk ask;
    ask.version = session.versions[agent];
    ask.correct_by = static_cast<TeamCorrectBy>(1 + random() % 3);
    ask.correct_text = ask.correct_by != TeamCorrectBy::kAnchors && random() % 2 == 0;
    ask.gamma = 1;
    ask.min_run = 4;
    ask.costs.prefill_us_per_token = 2000;
    std::vector<Tokens> contents;
    Tokens prompt = shape.segments.front();
    auto bare = static_cast<Position>(prompt.size());
    for (std::size_t i = 0; i < shape.slots.size(); ++i) {
      Tokens& tokens = contents.emplace_back(
          RandomTokens(random, kShortest + random() % (kLongest - kShortest)));
      KVC_RETURN_IF_ERROR(PutRows(session.team->PutText(tokens), tokens, 5));
      const Tokens& text = shape.segments[i + 1];
      if (ask.correct_text) {
        KVC_RETURN_IF_ERROR(PutRows(
            session.team->PutSegment(ask.version, static_cast<std::uint32_t>(i + 1)), text, bare));
      }
      bare += static_cast<Position>(text.size());
      prompt.insert(prompt.end(), tokens.begin(), tokens.end());
      prompt.insert(prompt.end(), text.begin(), text.end());
    }
    for (const Tokens& tokens : contents) ask.contents.push_back({tokens, false, {}});
    ask.store_tokens = static_cast<std::uint32_t>(prompt.size());
    const auto call = session.team->Plan(ask);
    if (!call) return call.error();
    const float number = NumberOf(agent);
    wrong_ += WrongRows(prompt, *(*call)->plan, number);
    const auto committed = (*call)->plan->Commit(Writer(prompt, 0, number), UploadAck::kDurable);
    if (!committed) return committed.error();
    if (!(*call)->wants_deposit()) return Status();
    const auto deposits = (*call)->Deposit();
    if (!deposits) return deposits.error();
    MutexLock lock(mutex_);
    for (const auto& deposit : *deposits) {
      if (deposit.outcome != "learned") continue;
      ++acknowledged_[session.round][{shape.agent, shape.slots[deposit.slot], deposit.of_text}];
    }
    return Status();
  }

  ModelProfile profile_;
  std::vector<TeamPrompt> prompts_;
  Mutex mutex_;
  std::map<int, Deposits> acknowledged_ GUARDED_BY(mutex_);  // by round
};

}  // namespace

std::unique_ptr<KillLoad> MakeTeamLoad(const DaemonProcess& daemon) {
  return std::make_unique<TeamLoad>(daemon);
}

}  // namespace kvcommons
