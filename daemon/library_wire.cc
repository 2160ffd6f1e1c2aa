#include "daemon/library_wire.h"

#include <string>
#include <utility>
#include <vector>

#include "daemon/wire.h"

namespace kvcommons {

Result<PrefaceSet> ReadPrefaceSet(rpc::PrefaceSet::Reader reader, const ModelProfile& profile) {
  PrefaceSet set;
  auto sink = ReadTokens("sinkTokens", reader.getSinkTokens(), 0, profile.context_tokens, profile);
  if (!sink) return Fail(sink.error());
  set.sink_tokens = std::move(*sink);
  auto system =
      ReadTokens("systemTokens", reader.getSystemTokens(), 0, profile.context_tokens, profile);
  if (!system) return Fail(system.error());
  set.system_tokens = std::move(*system);
  set.prefaces = reader.getPrefaces();
  set.passages_per_preface = reader.getPassagesPerPreface();
  set.preface_tokens = reader.getPrefaceTokens();
  const auto neutral = reader.getNeutral();
  if (neutral.size() > PrefaceSet::kMaxPassages) {
    return Fail(OutOfRange("neutral's length", neutral.size(), 0, PrefaceSet::kMaxPassages));
  }
  for (unsigned i = 0; i < neutral.size(); ++i) {
    auto passage = ReadTokens("neutral[" + std::to_string(i) + "]", neutral[i], 1,
                              PrefaceSet::kMaxPrefaceTokens, profile);
    if (!passage) return Fail(passage.error());
    set.neutral.push_back(std::move(*passage));
  }
  KVC_FAIL_IF_ERROR(CheckPrefaceSet(set, profile.context_tokens));
  return set;
}

void WriteTokens(const TokenList& tokens, capnp::List<std::int32_t>::Builder builder) {
  for (unsigned i = 0; i < builder.size(); ++i) builder.set(i, tokens[i]);
}

void WriteLibraryDocument(const LibraryDocument& document, const ContentKey& content,
                          const RootId* set, std::size_t token_count,
                          rpc::LibraryDocument::Builder builder) {
  builder.setName(kj::StringPtr(document.name.c_str(), document.name.size()));
  WriteHash(content, builder.initContentKey());
  builder.setTokenCount(static_cast<std::uint32_t>(token_count));
  builder.setCreatedUs(document.created_us);
  auto related = builder.initRelated(static_cast<unsigned>(document.related.size()));
  for (unsigned i = 0; i < related.size(); ++i) {
    related.set(i, kj::StringPtr(document.related[i].c_str(), document.related[i].size()));
  }
  std::vector<const LibraryVariant*> own;
  for (const LibraryVariant& variant : document.variants) {
    if (set == nullptr || variant.set == *set) own.push_back(&variant);
  }
  auto variants = builder.initVariants(static_cast<unsigned>(own.size()));
  for (unsigned i = 0; i < variants.size(); ++i) {
    variants[i].setKind(static_cast<std::uint8_t>(own[i]->root.kind));
    WriteHash(own[i]->root.id, variants[i].initRoot());
    variants[i].setPrefaces(own[i]->preface_count);
    variants[i].setPrepareUs(own[i]->prepare_us);
    variants[i].setReady(own[i]->ready);
  }
}

void WriteWorkDescription(const LibraryWork& work, rpc::WorkDescription::Builder description) {
  description.setName(kj::StringPtr(work.name.c_str(), work.name.size()));
  description.setKind(static_cast<std::uint8_t>(work.variant.root.kind));
  WriteTokens(work.tokens, description.initTokens(static_cast<unsigned>(work.tokens.size())));
  auto prefaces = description.initPrefaces(static_cast<unsigned>(work.prefaces.size()));
  for (unsigned i = 0; i < prefaces.size(); ++i) {
    WriteTokens(work.prefaces[i], prefaces.init(i, static_cast<unsigned>(work.prefaces[i].size())));
  }
}

}  // namespace kvcommons
