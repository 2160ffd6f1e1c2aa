// A library: texts that prompts are composed of, in any order. Each is prefilled once, behind
// prefaces, by whoever asks for work; a plan places its rows wherever the prompt has the text.
//
// Put texts in, let a worker loop over NextWork() and Commit(), and ask for plans; until a text is
// prepared its rows are computed. Thread safety: as the Client it comes from.

#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "client/client.h"

namespace kvcommons {

// What canonical rows are made behind: the application's system prompt and passages of public
// text. An application keeps them; others make other rows.
struct LibraryPrefaces {
  std::vector<TokenId> sink_tokens, system_tokens;
  std::vector<std::vector<TokenId>> neutral;  // prefaces * passages_per_preface at least
  std::uint32_t prefaces = 8;                 // of variants mean and near; 1 to 64
  std::uint32_t passages_per_preface = 3;     // 1 to 16
  std::uint32_t preface_tokens = 512;         // the most of one passage
};

struct LibraryStatus {
  std::uint32_t documents = 0;
  std::array<std::uint32_t, kMaxRootKind + 1> ready{};  // documents, by RootKind
  std::uint32_t pending = 0;                            // preparations to do, claimed ones too
  std::uint32_t claimed = 0;
  std::uint64_t prepare_us = 0;  // what the ready ones took
  std::uint64_t tokens = 0;
};

// A claimed preparation; dropping it gives the claim back.
class WorkHandle {
 public:
  virtual ~WorkHandle() = default;

  std::string name;  // of the document
  RootKind kind = RootKind::kEmpty;
  std::vector<TokenId> tokens;
  std::vector<std::vector<TokenId>> prefaces;  // run the tokens behind each; the rows are the mean

  // Stores the rows. `write_block(begin, count, destination)` writes rows [begin, begin + count) in
  // store layout, keys rotated for positions begin, begin + 1, ..., and behind the planes the
  // loadings of those rows as `LoadingsLayout` says, when `loadings_rank` is not 0. All or none.
  using BlockWriter =
      std::function<Status(Position begin, std::uint32_t count, std::byte* destination)>;
  virtual Result<std::uint32_t> Commit(const BlockWriter& write_block, std::uint32_t loadings_rank,
                                       std::uint64_t prepare_us, UploadAck ack) = 0;
};

class LibraryHandle {
 public:
  virtual ~LibraryHandle() = default;

  struct PutReply {
    LibraryListing document;
    bool is_new = false;  // no document of that name had these tokens
  };
  // An empty name: named by its own text. `related`: names of documents it is used together with.
  virtual Result<PutReply> Put(const std::string& name, std::span<const TokenId> tokens,
                               const std::vector<std::string>& related = {}) = 0;
  virtual Result<std::vector<LibraryListing>> List(std::uint32_t limit) = 0;
  struct GetReply {
    LibraryListing document;
    std::vector<TokenId> tokens;
  };
  // nullopt: there is none.
  virtual Result<std::optional<GetReply>> Get(const std::string& name) = 0;
  virtual Result<bool> Remove(const std::string& name) = 0;
  // Null: nothing to do now. `variants`: bits 1 << RootKind; 0: system, mean and near.
  virtual Result<std::unique_ptr<WorkHandle>> NextWork(std::uint32_t variants = 0) = 0;
  virtual Result<LibraryStatus> GetStatus() = 0;
  // `request` with chunks; its policy is taken as kCompose.
  virtual Result<std::unique_ptr<PlanHandle>> Plan(const PlanRequest& request) = 0;
};

}  // namespace kvcommons
