// What a library has prepared next, and by whom.

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "daemon/library.h"

namespace kvcommons {
namespace {

// In this order: something to serve first, what is better later.
constexpr RootKind kOrder[] = {RootKind::kSystem, RootKind::kSink, RootKind::kWarm, RootKind::kMean,
                               RootKind::kNear};

// What a library remembers of its scans; past that it forgets all, and looks at everything again.
constexpr std::size_t kMaxScans = 256;
// Entries that still want something may be many; then looking at them again is cheaper.
constexpr std::size_t kMaxWanting = 256;

}  // namespace

Library::Neighbours Library::NeighboursOf(const Entry& entry, const PrefaceRoots& roots) const {
  Neighbours found;
  const std::size_t limit = roots.NeighbourLimit();
  const auto add = [&](const DocumentKey& key) REQUIRES(mutex_) {
    const Entry* const other = FindEntry(key);
    if (other == nullptr || other->content == entry.content || found.all.size() >= limit) return;
    const auto same = [&](const Entry* e) { return e->content == other->content; };
    if (std::none_of(found.all.begin(), found.all.end(), same)) found.all.push_back(other);
  };
  for (const std::string& name : entry.document.related) {
    add(model_->hasher.KeyOfLibraryDocument(name));
  }
  found.named = found.all.size();
  std::vector<LibraryNeighbour> counted = entry.document.neighbours;
  std::erase_if(counted, [](const LibraryNeighbour& n) { return n.count < kNearCount; });
  if (found.named == 0 && counted.size() < 2) return {};
  std::sort(counted.begin(), counted.end(),
            [](const LibraryNeighbour& a, const LibraryNeighbour& b) {
              return std::pair(b.count, a.document) < std::pair(a.count, b.document);
            });
  for (const LibraryNeighbour& neighbour : counted) add(neighbour.document);
  if (found.named == 0 && found.all.size() < 2) return {};  // Counted once, and gone since.
  return found;
}

bool Library::NearStands(const LibraryVariant& held, const Neighbours& now) const {
  const auto is_gone = [&](const ContentKey& content)
                           REQUIRES(mutex_) { return !by_content_.contains(content); };
  if (std::any_of(held.neighbours.begin(), held.neighbours.end(), is_gone)) return false;
  const auto is_new = [&](const Entry* neighbour) {
    return std::find(held.neighbours.begin(), held.neighbours.end(), neighbour->content) ==
           held.neighbours.end();
  };
  const auto named_end = now.all.begin() + static_cast<std::ptrdiff_t>(now.named);
  if (std::any_of(now.all.begin(), named_end, is_new)) return false;
  const auto new_count =
      static_cast<std::size_t>(std::count_if(now.all.begin(), now.all.end(), is_new));
  const bool is_same = new_count == 0 && now.all.size() == held.neighbours.size();
  if (held.renamed && !is_same) return false;
  return 2 * new_count < now.all.size();
}

std::optional<LibraryVariant> Library::Wanted(const Entry& entry, const PrefaceRoots& roots,
                                              std::uint32_t context_tokens, RootKind kind) const {
  // Put with shorter prefaces or a longer context.
  if (entry.document.tokens.size() + roots.set().LongestTokens() > context_tokens) {
    return std::nullopt;
  }
  const LibraryVariant* const held = entry.document.Find(kind, roots.id());
  LibraryVariant wanted;
  wanted.root.kind = kind;
  wanted.set = roots.id();
  if (kind != RootKind::kNear) {
    wanted.root = roots.Root(kind);
    if (held != nullptr && held->ready && held->root == wanted.root) return std::nullopt;
    return wanted;
  }
  const Neighbours now = NeighboursOf(entry, roots);
  if (now.all.empty()) return std::nullopt;
  if (held != nullptr && held->ready && NearStands(*held, now)) return std::nullopt;
  for (const Entry* neighbour : now.all) wanted.neighbours.push_back(neighbour->content);
  return wanted;
}

Library::Scan Library::ScanOf(const PrefaceRoots& roots, std::uint32_t context_tokens,
                              RootKind kind) {
  const RootId root = kind == RootKind::kNear ? roots.id() : roots.Root(kind).id;
  const std::size_t longest = roots.set().LongestTokens();
  return {
      kind, root, roots.id(), roots.NeighbourLimit(),
      context_tokens - static_cast<std::uint32_t>(std::min<std::size_t>(longest, context_tokens))};
}

template <typename Visit>
void Library::ForUnsettled(const Scan& scan, Visit visit) {
  const auto found = settled_.find(scan);
  std::uint64_t settled = found == settled_.end() ? 0 : found->second;
  if (std::get<RootKind>(scan) == RootKind::kNear && settled < last_text_change_) settled = 0;
  if (last_change_ - settled >= entries_.size()) {
    for (const auto& [turn, key] : order_) {
      Entry& entry = *FindEntry(key);
      if (entry.change > settled && !visit(entry)) return;
    }
    return;
  }
  std::vector<Entry*> changed;
  for (auto at = changes_.upper_bound(settled); at != changes_.end(); ++at) {
    changed.push_back(FindEntry(at->second));
  }
  std::sort(changed.begin(), changed.end(),
            [](const Entry* a, const Entry* b) { return a->turn < b->turn; });
  for (Entry* const entry : changed) {
    if (!visit(*entry)) return;
  }
}

void Library::Settle(const Scan& scan, const std::vector<Entry*>& wanting) {
  if (wanting.size() > kMaxWanting) return;
  if (settled_.size() >= kMaxScans) settled_.clear();
  settled_[scan] = last_change_;
  for (Entry* const entry : wanting) Touch(*entry);
}

Library::Claim Library::ClaimOf(const Entry& entry, const LibraryVariant& variant) {
  // Of equal texts only one is prepared at a time: their blocks may have the same keys.
  return {entry.content, variant.root.kind, variant.set};
}

LibraryWork Library::MakeWork(const Entry& entry, const PrefaceRoots& roots,
                              LibraryVariant variant) const {
  LibraryWork work;
  work.document = entry.document.document;
  work.content = entry.content;
  work.name = entry.document.name;
  work.tokens = entry.document.tokens;
  work.related = entry.document.related;
  if (variant.root.kind == RootKind::kNear) {
    std::vector<TokenList> neighbours;
    for (const ContentKey& content : variant.neighbours) {
      const DocumentKey& key = *by_content_.at(content).begin();
      TokenList tokens = FindEntry(key)->document.tokens;
      tokens.resize(std::min<std::size_t>(tokens.size(), roots.set().preface_tokens));
      neighbours.push_back(std::move(tokens));
    }
    work.prefaces = roots.NearPrefaces(neighbours);
    variant.root = model_->hasher.RootOf(RootKind::kNear, work.prefaces);
  } else {
    work.prefaces = roots.Prefaces(variant.root.kind);
  }
  variant.preface_count = static_cast<std::uint32_t>(work.prefaces.size());
  work.keys = BlocksOf(entry.document, variant.root, model_->hasher);
  work.variant = std::move(variant);
  work.claim = ClaimOf(entry, work.variant);
  return work;
}

std::optional<LibraryWork> Library::NextWork(const PrefaceRoots& roots,
                                             std::uint32_t context_tokens, VariantMask wanted) {
  MutexLock lock(mutex_);
  for (const RootKind kind : kOrder) {
    if ((wanted & MaskOf(kind)) == 0) continue;
    const Scan scan = ScanOf(roots, context_tokens, kind);
    std::optional<LibraryWork> work;
    std::vector<Entry*> claimed;
    ForUnsettled(scan, [&](Entry& entry) REQUIRES(mutex_) {
      std::optional<LibraryVariant> variant = Wanted(entry, roots, context_tokens, kind);
      if (!variant) return true;
      if (claims_.contains(ClaimOf(entry, *variant))) {
        claimed.push_back(&entry);
        return true;
      }
      work = MakeWork(entry, roots, std::move(*variant));
      return false;
    });
    if (work) {
      claims_.insert(work->claim);
      return work;
    }
    Settle(scan, claimed);
  }
  return std::nullopt;
}

void Library::Release(const LibraryWork& work, bool finished) {
  MutexLock lock(mutex_);
  claims_.erase(work.claim);
  Entry* const entry = FindEntry(work.document);
  if (finished || entry == nullptr) return;
  // To the end of the queue: one that cannot be prepared must not keep the others from it.
  order_.erase(entry->turn);
  entry->turn = next_turn_++;
  order_.emplace(entry->turn, work.document);
}

Status Library::CheckCurrent(const LibraryWork& work) const {
  MutexLock lock(mutex_);
  const Entry* const entry = FindEntry(work.document);
  if (entry == nullptr || entry->content != work.content) {
    return NotFound("document '" + work.name +
                    "' was removed or replaced meanwhile; nothing of this work is stored");
  }
  for (const ContentKey& neighbour : work.variant.neighbours) {
    if (by_content_.contains(neighbour)) continue;
    return NotFound("a neighbour of document '" + work.name +
                    "' was removed or replaced meanwhile; nothing of this work is stored");
  }
  return Status();
}

Status Library::Finish(const LibraryWork& work) {
  MutexLock write_lock(write_mutex_);
  KVC_RETURN_IF_ERROR(CheckCurrent(work));
  const LibraryVariant& made = work.variant;
  std::vector<LibraryDocument> records;
  {
    MutexLock lock(mutex_);
    for (const DocumentKey& key : by_content_.at(work.content)) {
      if (made.root.kind == RootKind::kNear && key != work.document) continue;
      records.push_back(FindEntry(key)->document);
    }
  }
  for (LibraryDocument& record : records) {
    auto& variants = record.variants;
    std::erase_if(variants, [&](const LibraryVariant& v) {
      return v.root.kind == made.root.kind && v.set == made.set;
    });
    // The oldest leave: those of applications whose prefaces have changed.
    if (variants.size() >= LibraryDocument::kMaxVariants) variants.erase(variants.begin());
    variants.push_back(made);
    variants.back().ready = true;
    variants.back().renamed = made.root.kind == RootKind::kNear && record.related != work.related;
    KVC_RETURN_IF_ERROR(Replace(std::move(record)));
  }
  return Status();
}

LibraryCounts Library::Count(const PrefaceRoots& roots, std::uint32_t context_tokens) {
  MutexLock lock(mutex_);
  LibraryCounts counts;
  counts.documents = static_cast<std::uint32_t>(entries_.size());
  for (const auto& [key, entry] : entries_) {
    counts.tokens += entry.document.tokens.size();
    for (const LibraryVariant& variant : entry.document.variants) {
      if (!variant.ready || variant.set != roots.id()) continue;
      ++counts.ready[static_cast<std::size_t>(variant.root.kind)];
      counts.prepare_us += variant.prepare_us;
    }
  }
  for (const RootKind kind : kOrder) {
    if ((kPreparedVariants & MaskOf(kind)) == 0) continue;
    const Scan scan = ScanOf(roots, context_tokens, kind);
    std::vector<Entry*> wanting;
    ForUnsettled(scan, [&](Entry& entry) REQUIRES(mutex_) {
      if (Wanted(entry, roots, context_tokens, kind)) wanting.push_back(&entry);
      return true;
    });
    Settle(scan, wanting);
    for (const Entry* const entry : wanting) {
      const DocumentKey& first = *by_content_.at(entry->content).begin();
      if (kind == RootKind::kNear || entry->document.document == first) ++counts.pending;
    }
  }
  for (const Claim& claim : claims_) {
    if (std::get<2>(claim) == roots.id()) ++counts.claimed;
  }
  return counts;
}

}  // namespace kvcommons
