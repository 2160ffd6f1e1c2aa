// What a library has for a prompt, and what it learns from one: which texts are used together.

#include <algorithm>
#include <set>

#include "daemon/library.h"

namespace kvcommons {
namespace {

// Best first: what a chunk is served from.
constexpr RootKind kPreference[] = {RootKind::kNear, RootKind::kMean, RootKind::kWarm,
                                    RootKind::kSystem, RootKind::kSink};

// Documents of one prompt whose pairs are counted: the work grows with their square.
constexpr std::size_t kMaxCounted = 64;

}  // namespace

std::vector<CanonicalChunk> Library::Find(std::span<const TokenId> tokens,
                                          std::span<const ChunkRange> chunks,
                                          const PrefaceRoots& roots, VariantMask allowed) const {
  std::vector<CanonicalChunk> found;
  found.reserve(chunks.size());
  for (const ChunkRange& range : chunks) {
    CanonicalChunk chunk;
    chunk.range = range;
    chunk.content = model_->hasher.ContentKeyOf(tokens.subspan(
        static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.end - range.begin)));
    found.push_back(std::move(chunk));
  }
  MutexLock lock(mutex_);
  for (CanonicalChunk& chunk : found) {
    const auto equals = by_content_.find(chunk.content);
    if (equals == by_content_.end()) continue;
    chunk.document = FindEntry(*equals->second.begin())->document.name;
    for (const RootKind kind : kPreference) {
      if ((allowed & MaskOf(kind)) == 0) continue;
      for (const DocumentKey& key : equals->second) {
        const Entry* const entry = FindEntry(key);
        const LibraryVariant* const variant = entry->document.Find(kind, roots.id());
        if (variant == nullptr || !variant->ready) continue;
        // Of another sink than this set's.
        if (kind != RootKind::kNear && !(variant->root == roots.Root(kind))) continue;
        for (const auto& [root, keys] : entry->keys) {
          if (root == variant->root) chunk.variants.push_back({root, keys});
        }
        break;
      }
    }
  }
  return found;
}

void Library::Forget(const ContentKey& content, const ChainRoot& root) {
  MutexLock lock(mutex_);
  const auto equals = by_content_.find(content);
  if (equals == by_content_.end()) return;
  for (const DocumentKey& key : equals->second) {
    Entry* const entry = FindEntry(key);
    for (LibraryVariant& variant : entry->document.variants) {
      if (variant.root == root) variant.ready = false;
    }
    RememberKeys(*entry);
    Touch(*entry);
  }
}

bool Library::CountTogether(std::span<const ContentKey> contents) {
  MutexLock lock(mutex_);
  std::set<DocumentKey> documents;
  for (const ContentKey& content : contents) {
    if (documents.size() >= kMaxCounted) break;
    const auto equals = by_content_.find(content);
    if (equals != by_content_.end()) documents.insert(*equals->second.begin());
  }
  bool is_due = false;
  for (const DocumentKey& a : documents) {
    Entry* const entry = FindEntry(a);
    for (const DocumentKey& b : documents) {
      if (a == b) continue;
      entry->is_dirty = true;
      entry->is_due = entry->document.CountTogether(b) || entry->is_due;
    }
    if (documents.size() > 1) Touch(*entry);
    is_due = is_due || entry->is_due;
  }
  return is_due;
}

void Library::WriteBack(bool all) {
  MutexLock write_lock(write_mutex_);
  std::vector<LibraryDocument> records;
  {
    MutexLock lock(mutex_);
    for (auto& [key, entry] : entries_) {
      if (!(all ? entry.is_dirty : entry.is_due)) continue;
      records.push_back(entry.document);
      entry.is_dirty = entry.is_due = false;
    }
  }
  // A failure loses counts, nothing else.
  for (const LibraryDocument& record : records) {
    static_cast<void>(store_.PutLibraryDocument(record));
  }
}

}  // namespace kvcommons
