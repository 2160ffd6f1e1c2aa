// Between a library's messages and our own types: wire.h for the rest.
//
// Thread safety: pure functions.

#pragma once

#include <cstddef>

#include "daemon/library.h"
#include "daemon/preface_set.h"
#include "schema/kvcommons.capnp.h"

namespace kvcommons {

Result<PrefaceSet> ReadPrefaceSet(rpc::PrefaceSet::Reader reader, const ModelProfile& profile);

// REQUIRES: the new list is as long as `tokens`.
void WriteTokens(const TokenList& tokens, capnp::List<std::int32_t>::Builder builder);
// `set`: variants of that preface set only; null: all.
void WriteLibraryDocument(const LibraryDocument& document, const ContentKey& content,
                          const RootId* set, std::size_t token_count,
                          rpc::LibraryDocument::Builder builder);
void WriteWorkDescription(const LibraryWork& work, rpc::WorkDescription::Builder description);

}  // namespace kvcommons
