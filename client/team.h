// A team: agents with different prompts that read the same contents, each prefilled once.
//
// For every call of an agent: put its contents (a text by PutText, an answer by TeamCall::PutAnswer
// of the call that made it), plan, place and compute as with any plan, commit the plan, and deposit
// where it wants slots; what is learned there corrects contents of later calls. Thread safety: as
// the Client it comes from.

#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "client/client.h"

namespace kvcommons {

struct TeamSettings {
  std::string name;                  // 1 to 256 bytes
  std::vector<TokenId> lead_in;      // what a text's own rows are computed behind
  std::uint32_t least_deposits = 4;  // contents that a mean must be of before it corrects others
  bool keeps_anchors = false;        // deposits are also kept one by one, for kAnchors
};

// How contents' rows are corrected; values as in the schema.
enum class TeamCorrectBy : std::uint8_t { kNothing = 0, kMean = 1, kAnchors = 2, kTrustedMean = 3 };

// An agent's prompt: text around slots.
struct TeamPrompt {
  std::string agent;
  std::vector<std::vector<TokenId>> segments;  // p0 … pn, none empty
  std::vector<std::string> slots;              // n names
};

// The id of a template's version, or of a content. 32 hex digits in Hex().
using TeamId = Id128<struct TeamIdTag>;

// What is handed in of a content that the daemon has not.
class TeamContentUpload {
 public:
  virtual ~TeamContentUpload() = default;
  // `write_rows(begin, count, destination)` writes rows [begin, begin + count) of the content in
  // store layout, keys as they were computed: a text's at lead_in.size(), ...; an answer's where it
  // lies behind its prompt; a segment's where it lies with nothing in the slots. All or none.
  using RowWriter =
      std::function<Status(Position begin, std::uint32_t count, std::byte* destination)>;
  virtual Result<std::uint32_t> Commit(const RowWriter& write_rows, UploadAck ack) = 0;
};

struct TeamContentReply {
  TeamId id;
  std::unique_ptr<TeamContentUpload> upload;  // null: it is held
};

struct TeamSlotContent {
  std::span<const TokenId> tokens;
  bool is_answer = false;
  TeamId answer;  // of PutAnswer
};

struct TeamPlanAsk {
  TeamId version;
  std::vector<TeamSlotContent> contents;  // one a slot
  TeamCorrectBy correct_by = TeamCorrectBy::kMean;
  double gamma = 0.3;              // of the gate, which kAnchors asks
  std::uint32_t first_rows = 0;    // of every content, computed all the same
  bool correct_text = false;       // the text between, too; not by kAnchors. PutSegment() first
  bool exact = false;              // reuse nothing but the exact chain; learns nothing
  std::uint32_t store_tokens = 0;  // of the whole prompt, where it may be learned from
  CostModel costs;
  std::uint32_t min_run = 16;
};

class TeamCallHandle {
 public:
  virtual ~TeamCallHandle() = default;

  struct Slot {
    std::string reason;
    std::uint32_t covered_rows = 0, deposits = 0;
    bool wanted = false;
    double entropy_bits = 0;  // where the gate was asked
  };
  std::unique_ptr<PlanHandle> plan;
  bool reuses = false;
  std::string reason;  // as in the schema's TeamPlanInfo
  std::uint64_t epoch = 0;
  std::vector<Slot> slots;
  std::vector<Slot> texts;  // behind each slot, where text is corrected
  double gate_us = 0, weights_us = 0, blend_us = 0;

  bool wants_deposit() const {
    const auto wants = [](const Slot& slot) { return slot.wanted; };
    return !reuses && (std::any_of(slots.begin(), slots.end(), wants) ||
                       std::any_of(texts.begin(), texts.end(), wants));
  }

  struct DepositReply {
    std::uint32_t slot = 0;
    std::string outcome, message;
    bool of_text = false;  // of the text behind that slot
  };
  // After the plan's commit. Once.
  virtual Result<std::vector<DepositReply>> Deposit() = 0;
  virtual Result<TeamContentReply> PutAnswer(std::span<const TokenId> tokens) = 0;
};

struct TeamStatusReply {
  struct Mean {
    std::string agent, slot;
    bool of_answers = false;
    std::uint32_t deposits = 0, rows = 0;
    std::uint64_t bytes = 0, uses = 0;
    std::uint32_t of_corrected = 0;  // deposits whose own rows inherit a correction's error
    bool of_prompt = false;          // of the template's text behind the slot
  };
  std::vector<Mean> means;                      // of this team
  std::uint64_t bytes = 0, limit_bytes = 0;     // of all of the tenant's teams
  std::uint64_t anchors = 0, anchor_bytes = 0;  // of those
  std::uint64_t plans = 0, reused = 0;
};

class TeamHandle {
 public:
  virtual ~TeamHandle() = default;
  virtual Result<TeamId> PutTemplate(const TeamPrompt& prompt) = 0;
  // Rows of the template's text `segment`, 1 to n, as they are in the prompt with nothing in its
  // slots. As PutText().
  virtual Result<TeamContentReply> PutSegment(const TeamId& version, std::uint32_t segment) = 0;
  // Waits while another client computes the same text.
  virtual Result<TeamContentReply> PutText(std::span<const TokenId> tokens) = 0;
  virtual Result<std::unique_ptr<TeamCallHandle>> Plan(const TeamPlanAsk& ask) = 0;
  virtual Result<TeamStatusReply> GetStatus() = 0;
};

}  // namespace kvcommons
