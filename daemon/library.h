// Library: the documents of one tenant for one model that prompts are composed of, what has been
// prepared of them, and who prepares what.
//
// Guarantees: a document's canonical rows are found only while it is here, with the tokens they
// were made of; one preparation is claimed once at a time; what is known of documents that are used
// together comes from this domain only (I7) and no text of a request enters a preface. A change is
// on disk before it is seen, but counts of documents used together, which are written back when
// they double. Thread safety: every method may be called from any thread; those that block on the
// disk say so.

#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "daemon/canonical_chunks.h"
#include "daemon/library_budget.h"
#include "daemon/preface_set.h"
#include "daemon/prompt.h"
#include "store/store.h"

namespace kvcommons {

// A set of variants: bit 1 << kind.
using VariantMask = std::uint32_t;
inline constexpr VariantMask MaskOf(RootKind kind) { return 1u << static_cast<unsigned>(kind); }
inline constexpr VariantMask kAllVariants = (2u << kMaxRootKind) - 2;  // not kEmpty
inline constexpr VariantMask kPreparedVariants =
    MaskOf(RootKind::kSystem) | MaskOf(RootKind::kMean) | MaskOf(RootKind::kNear);

// What is prepared once at a time: a text, the kind and the preface set.
using LibraryClaim = std::tuple<ContentKey, RootKind, RootId>;

// A claimed preparation.
struct LibraryWork {
  DocumentKey document;
  ContentKey content;
  std::string name;
  TokenList tokens;
  LibraryVariant variant;            // as it will be in the record
  std::vector<std::string> related;  // the document's, when this was claimed
  std::vector<TokenList> prefaces;
  std::vector<BlockKey> keys;  // of the blocks to make
  LibraryClaim claim;
};

struct LibraryCounts {
  std::uint32_t documents = 0;
  std::array<std::uint32_t, kMaxRootKind + 1> ready{};  // by kind
  std::uint32_t pending = 0;                            // of kPreparedVariants; claimed ones too
  std::uint32_t claimed = 0;
  std::uint64_t prepare_us = 0;
  std::uint64_t tokens = 0;
};

class Library {
 public:
  static constexpr std::size_t kMaxDocuments = 16384;
  // A document that was not named is a neighbour from this count on, if there are two of them.
  static constexpr std::uint32_t kNearCount = 3;

  // Reads what the store has; its tokens are taken from `budget`, which outlives it, after
  // `make_room`, which may be null, was told how many there are. Blocks.
  using MakeRoom = std::function<void(std::uint64_t tokens)>;
  static Result<std::shared_ptr<Library>> Open(Store& store, const Clock& clock,
                                               std::shared_ptr<const OpenedModel> model,
                                               LibraryBudget& budget,
                                               const MakeRoom& make_room = nullptr);
  // The preface set, one for all who hold an equal one; its tokens are taken from the budget, too.
  // kExhausted: there is no room for it.
  Result<std::shared_ptr<const PrefaceRoots>> Share(PrefaceSet set,
                                                    const MakeRoom& make_room = nullptr)
      EXCLUDES(mutex_);
  ~Library();
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  // --- library.cc

  struct PutOutcome {
    LibraryDocument document;  // without tokens
    ContentKey content;
    bool is_new = false;  // no document of that name had these tokens
  };
  // An empty name: the content key in hexadecimal. Blocks.
  Result<PutOutcome> Put(std::string name, TokenList tokens, std::vector<std::string> related);
  // How many tokens more the library would hold after that Put.
  std::uint64_t GrowthOf(const std::string& name, const TokenList& tokens) const;
  // False: there was none. Blocks.
  Result<bool> Remove(const std::string& name);
  Result<bool> Remove(const DocumentKey& key);
  std::optional<LibraryDocument> Get(const std::string& name) const;
  struct Listed {
    LibraryDocument document;  // without tokens, related names and counts: a list is long
    ContentKey content;
    std::size_t token_count = 0;
  };
  static Listed ListedAs(const LibraryDocument& document, const ContentKey& content);
  // The first `limit` documents, oldest first but for those whose preparation was given back.
  std::vector<Listed> List(std::size_t limit) const;

  // --- library_prompts.cc

  // What is held of these chunks of a prompt. REQUIRES: they lie in `tokens`.
  std::vector<CanonicalChunk> Find(std::span<const TokenId> tokens,
                                   std::span<const ChunkRange> chunks, const PrefaceRoots& roots,
                                   VariantMask allowed) const;
  // Blocks of that variant are gone from the store: it is to be prepared again.
  void Forget(const ContentKey& content, const ChainRoot& root);
  // The documents with these texts were used in one prompt. True: WriteBack() is worth it.
  bool CountTogether(std::span<const ContentKey> contents);
  // Puts changed counts on disk, all of them or those worth it. Blocks.
  void WriteBack(bool all);

  // --- library_work.cc

  // `context_tokens` is that of the session that asks: sessions that share a library may have
  // opened the model with different ones, and a longer text is work for some of them only.
  std::optional<LibraryWork> NextWork(const PrefaceRoots& roots, std::uint32_t context_tokens,
                                      VariantMask wanted);
  // Gives a claim back.
  void Release(const LibraryWork& work, bool finished);
  // kNotFound: the document, or one whose text the prefaces hold, was removed or replaced.
  Status CheckCurrent(const LibraryWork& work) const;
  // The blocks are stored: makes the variant ready, unless CheckCurrent() refuses. Blocks.
  Status Finish(const LibraryWork& work);
  LibraryCounts Count(const PrefaceRoots& roots, std::uint32_t context_tokens);

  // As the first session opened it: of what the fingerprint does not name (the context), another
  // session's may differ.
  const OpenedModel& model() const { return *model_; }

 private:
  struct Entry {
    LibraryDocument document;
    ContentKey content;
    std::uint64_t turn = 0;    // in order_
    std::uint64_t change = 0;  // in changes_
    bool is_dirty = false;     // counts that the record on disk has not
    bool is_due = false;       // and that are worth writing
    // Keys of the blocks of the ready variants.
    std::vector<std::pair<ChainRoot, std::vector<BlockKey>>> keys;
  };
  using Claim = LibraryClaim;

  Library(Store& store, const Clock& clock, std::shared_ptr<const OpenedModel> model,
          LibraryBudget& budget);

  Status Load(const MakeRoom& make_room) EXCLUDES(write_mutex_, mutex_);
  // The entry as it is to be: on disk and then here. REQUIRES: same document.
  Status Replace(LibraryDocument document) REQUIRES(write_mutex_) EXCLUDES(mutex_);
  void Insert(LibraryDocument document) REQUIRES(mutex_);
  void Erase(const DocumentKey& key) REQUIRES(mutex_);
  void RememberKeys(Entry& entry) REQUIRES(mutex_);
  // To be called after whatever may make work of the entry.
  void Touch(Entry& entry) REQUIRES(mutex_);
  Entry* FindEntry(const DocumentKey& key) REQUIRES(mutex_);
  const Entry* FindEntry(const DocumentKey& key) const REQUIRES(mutex_);
  // Blocks of `near` variants that were made behind that text, which is gone.
  void DropNear(const ContentKey& content) REQUIRES(write_mutex_) EXCLUDES(mutex_);

  // Whom `near` is to be made with, those that `related` names first; empty: not known yet.
  struct Neighbours {
    std::vector<const Entry*> all;
    std::size_t named = 0;
  };
  Neighbours NeighboursOf(const Entry& entry, const PrefaceRoots& roots) const REQUIRES(mutex_);
  // Whether `near` may stay as it was made. Counts move with every prompt, and making it again is a
  // prefill for each preface, so it is made again only when
  // - a text that it was made behind is gone from the library, or
  // - a neighbour that is named is not among those texts, or
  // - the names were changed since, and with them the neighbours, or
  // - at least half of the neighbours are not among those texts.
  bool NearStands(const LibraryVariant& held, const Neighbours& now) const REQUIRES(mutex_);
  // What `kind` is to be, when it is not ready as it should be.
  std::optional<LibraryVariant> Wanted(const Entry& entry, const PrefaceRoots& roots,
                                       std::uint32_t context_tokens, RootKind kind) const
      REQUIRES(mutex_);
  // All that decides what a kind is wanted of: its root, the set, how many neighbours and how many
  // tokens of a document fit.
  using Scan = std::tuple<RootKind, RootId, RootId, std::size_t, std::uint32_t>;
  static Scan ScanOf(const PrefaceRoots& roots, std::uint32_t context_tokens, RootKind kind);
  // Calls visit(entry), in the order of turns, for every entry that may want the kind, until it
  // returns false.
  template <typename Visit>
  void ForUnsettled(const Scan& scan, Visit visit) REQUIRES(mutex_);
  // No entry wants the kind now, but these.
  void Settle(const Scan& scan, const std::vector<Entry*>& wanting) REQUIRES(mutex_);
  static Claim ClaimOf(const Entry& entry, const LibraryVariant& variant);
  LibraryWork MakeWork(const Entry& entry, const PrefaceRoots& roots, LibraryVariant variant) const
      REQUIRES(mutex_);

  Store& store_;
  const Clock& clock_;
  const std::shared_ptr<const OpenedModel> model_;
  LibraryBudget& budget_;  // from which the tokens of entries_ and sets_ are taken

  // Held while documents change, across the disk.
  Mutex write_mutex_;
  mutable Mutex mutex_;  // innermost
  std::unordered_map<DocumentKey, Entry> entries_ GUARDED_BY(mutex_);
  std::map<std::uint64_t, DocumentKey> order_ GUARDED_BY(mutex_);  // by turn
  std::uint64_t next_turn_ GUARDED_BY(mutex_) = 0;
  // The entries by when they last changed, so that asking again for work looks at those only: as
  // long as a library is scanned, plans on the event loop wait for mutex_.
  std::map<std::uint64_t, DocumentKey> changes_ GUARDED_BY(mutex_);
  std::uint64_t last_change_ GUARDED_BY(mutex_) = 0;
  std::uint64_t last_text_change_ GUARDED_BY(mutex_) = 0;  // one came or went: neighbours of others
  // Up to which change nothing wants the kind.
  std::map<Scan, std::uint64_t> settled_ GUARDED_BY(mutex_);
  // By key, so that one of several with equal text is always the same.
  std::unordered_map<ContentKey, std::set<DocumentKey>> by_content_ GUARDED_BY(mutex_);
  std::set<Claim> claims_ GUARDED_BY(mutex_);
  std::vector<std::weak_ptr<const PrefaceRoots>> sets_ GUARDED_BY(mutex_);
};

}  // namespace kvcommons
