// TeamCallRecord: one planned call of an agent, and what is learned from it.
//
// What a deposit reads are the exact rows of that prompt, as the store has them under its chain's
// keys: whoever computed them committed them, and nothing approximate is there (I3). So nothing is
// learned from a prompt that was assembled, and a deposit transfers no rows. Source: specs: KVCOMM
// §3.6, §11 (operation 5). Thread safety: blocks on the disk; any thread.

#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/team_plan.h"

namespace kvcommons {

// What became of one wanted slot or text: fixed words, as the schema lists them.
struct TeamDeposit {
  std::size_t slot = 0;
  bool of_text = false;  // of the text behind that slot
  std::string_view outcome;
  std::string message;  // where nothing was learned
};

struct TeamCallRecord {
  std::shared_ptr<const OpenedModel> model;  // the session's
  std::shared_ptr<const Team> team;
  AgentTemplatePtr shape;
  std::vector<TeamContentRef> contents;
  TokenList prompt;
  PromptLayout layout;
  PromptChain chain;
  struct Wanted {
    std::size_t slot = 0;
    bool of_text = false;
  };
  std::vector<Wanted> wanted;
  bool keeps_anchors = false;
  std::uint64_t epoch = 0;  // 0: nothing approximate was used

  // An answer's rows are named by everything that they were computed from.
  ContentKey KeyOfAnswer(const TokenList& answer) const;
};

std::vector<TeamDeposit> Deposit(Store& store, const TeamCallRecord& call);

}  // namespace kvcommons
