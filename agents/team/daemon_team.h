// A team's agents on one engine, by way of the daemon: contents prefilled once for all processes of
// the team, each prompt assembled from what the daemon corrects.
//
// A call is Prefill(), which leaves the prompt's rows and the logits of its last token in the
// engine; the answer is generated; then Finish() gives back what the daemon wants and lets it
// learn, and FromAnswer() makes the answer a content of other agents. Whatever the daemon does,
// a prompt is prefilled and a request goes on: where it is gone or refuses, everything is computed,
// and contents, calls and ends say why. Errors are the engine's, and contents that fit nowhere.
//
// Thread safety: an engine's and its client's.

#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agents/engine/llama_engine.h"
#include "agents/team/graph.h"
#include "agents/team/team_mode.h"
#include "agents/team/team_template.h"
#include "base/clock.h"
#include "client/team.h"

namespace kvcommons {

// A content as its readers name it.
struct DaemonContent {
  std::vector<TokenId> tokens;
  bool is_answer = false;
  TeamId id = {};        // of an answer
  double base_ms = 0;    // what computing and handing in its own rows took; 0: they were held
  std::string fallback;  // why the daemon does not have its own rows; its readers compute them
};

struct DaemonCall {
  std::vector<TokenId> prompt;
  std::string mode;    // what was done: "dense", "exact" or the one asked for
  std::string reason;  // why: schema, TeamPlanInfo
  std::uint32_t exact = 0, anchored = 0, computed = 0;  // rows
  std::uint32_t deposits = 0;                           // that correct the thinnest slot
  double charged = 0;  // computed ÷ rows behind the first text (specs: KVCOMM §16.4)
  double plan_ms = 0, place_ms = 0, compute_ms = 0, ttft_ms = 0;
  double gate_ms = 0, weights_ms = 0, blend_ms = 0;  // of plan_ms
  double text_ms = 0;    // of ttft_ms: the template's own text, where the daemon had lost its rows
  std::string fallback;  // why the daemon was not used; empty: it was
  std::unique_ptr<TeamCallHandle> handle;
};

class DaemonTeam {
 public:
  struct Options {
    std::string chat = "auto";
    std::uint32_t least_deposits = 4;
    bool keeps_anchors = false;  // for modes with anchors
    double gamma = 0.3;          // of their gate
    bool corrects_text = false;  // for modes that do not compute the text between contents
    std::string name = {};       // of the team; empty: the graph's
    // Of calls that reused contents, which RunCanary() checks; 0 to 1.
    double canary_share = 0.01;
    std::uint64_t canary_seed = 1;
  };

  // Puts the templates of all agents, and their text's rows where text is corrected. `model` and
  // `engine` outlive it.
  static Result<std::unique_ptr<DaemonTeam>> Open(Engine& engine, ModelHandle& model,
                                                  const TeamGraph& graph, const Options& options);

  const TeamTemplate& shape(std::size_t agent) const { return templates_[agent]; }
  TeamHandle& team() { return *team_; }

  // Computes the text's own rows unless the daemon has them. Empties the engine where it does.
  // kInvalidArgument: no tokens, or too many for the context.
  Result<DaemonContent> FromText(std::span<const TokenId> tokens);
  // kInvalidArgument: contents do not fit the template or the context.
  // kUnsupported: a mode that `bench team` alone knows. `may_be_drawn`: for RunCanary().
  Result<DaemonCall> Prefill(std::size_t agent, std::span<const DaemonContent* const> contents,
                             const TeamMode& mode, bool may_be_drawn = true);
  // Where the last call was drawn to be checked: prefills its prompt densely and tells the daemon
  // how far the reused rows were from that. A mode that strays too far is switched off for the
  // tenant's model: its calls are exact then, "switched_off". Leaves dense rows in the engine.
  // Errors are the engine's and the daemon's.
  struct Canary {
    double kl = 0;
    bool agrees = false;
    bool enabled = true;  // the mode, afterwards
  };
  Result<std::optional<Canary>> RunCanary();
  // REQUIRES: the engine holds the prompt's rows.
  struct Finished {
    std::vector<TeamCallHandle::DepositReply> deposits;
    CommitOutcome commit;
    std::string fallback;  // why nothing was given back or learned; empty: it was
  };
  Finished Finish(DaemonCall& call, UploadAck ack);
  // Commits these tokens' rows as a prefix cache would. REQUIRES: the engine holds them, computed
  // exactly.
  Status HoldExact(std::span<const TokenId> tokens);
  // REQUIRES: the engine holds the answer's rows behind the prompt's.
  DaemonContent FromAnswer(DaemonCall& call, std::span<const TokenId> answer, UploadAck ack);

 private:
  DaemonTeam(Engine& engine, ModelHandle& model, const Options& options)
      : engine_(engine), model_(model), options_(options) {}
  // Keeps what the engine answers to the call's prompt, where it is drawn.
  void DrawCanary(const DaemonCall& call, const TeamMode& mode);
  Status CarryOut(DaemonCall& call);
  // The template's text as it is with nothing in its slots, unless the daemon has it. Where that
  // fails, plans compute the text.
  Status PutTextsOf(std::size_t agent);
  // What FromText() does where the daemon wants the rows; errors are the daemon's.
  Status ComputeText(std::span<const TokenId> tokens, TeamContentUpload& upload);

  Engine& engine_;
  ModelHandle& model_;
  const Options options_;
  const SystemClock clock_;
  std::unique_ptr<TeamHandle> team_;
  std::vector<TokenId> lead_in_;
  std::vector<TeamTemplate> templates_;
  std::vector<TeamId> versions_;
  // By agent. A daemon that loses the text's rows again and again is asked less and less often:
  // every time they are computed anew.
  struct TextsOf {
    bool are_put = false;
    std::uint32_t wait_calls = 0, next_wait_calls = 1;
  };
  std::vector<TextsOf> texts_;
  struct Sample {
    std::vector<TokenId> prompt;
    std::vector<float> logits;
    std::string quality_name;
  };
  std::optional<Sample> sample_;
  std::uint64_t reused_calls_ = 0;
};

// What a mode's quality is reported under.
std::string TeamQualityName(const TeamMode& mode);

// Rows [begin, begin + tokens) of the engine as an upload wants them.
TeamContentUpload::RowWriter EngineRows(Engine& engine, Position begin);

}  // namespace kvcommons
