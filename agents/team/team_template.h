// An agent's prompt as token ids: its fixed text part by part, each tokenized alone, so that what
// fills a slot changes no token around it.
//
// Thread safety: a value.

#pragma once

#include <span>
#include <string>
#include <vector>

#include "agents/engine/llama_engine.h"
#include "agents/team/graph.h"
#include "align/anchors/anchor_ledger.h"
#include "align/anchors/prompt_template.h"

namespace kvcommons {

struct TeamTemplate {
  std::string agent;
  ReaderKey reader;  // of agent and text: another version is another reader
  std::vector<std::vector<TokenId>> segments;  // p0 … pn, in the chat format
  std::vector<std::string> slots;

  PromptTemplate Shape() const;  // as if computed with nothing in its slots
  // REQUIRES: one a slot.
  std::vector<TokenId> Fill(std::span<const std::span<const TokenId>> contents) const;
};

// `chat`: a name as in Engine::FormatChat(). kInvalidArgument: the text breaks CheckTemplate().
Result<TeamTemplate> MakeTeamTemplate(const Engine& engine, const TeamAgent& agent,
                                      const std::string& chat);

// What stands before a text whose own rows are computed: it takes the attention that the first rows
// of any text draw, and warms up the next ones (specs: KVCOMM §3.4).
Result<std::vector<TokenId>> TeamLeadIn(const Engine& engine, const std::string& chat);

}  // namespace kvcommons
