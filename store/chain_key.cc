#include "store/chain_key.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>

#include "base/assert.h"

namespace kvcommons {
namespace {

static_assert(std::endian::native == std::endian::little, "hashed integers are little-endian");

// What the first 64 bytes, one SHA-256 block, consist of. Hashed once; each key continues from a
// copy.
constexpr std::size_t kHeadBytes = 64;
constexpr std::size_t kLabelBytes = 8;
constexpr std::uint32_t kFormat = 1;
constexpr char kHashKeyLabel[] = "kvcommons hash key 1";

// Fetched once: a fetch by name takes longer than the hash of a block.
const EVP_MD* Sha256() {
  static const EVP_MD* const digest = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  KVC_ASSERT(digest != nullptr);
  return digest;
}

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_MD_CTX, FreeContext>;

// SHA-256 of a head and what follows it, many times over.
class HeadedHash {
 public:
  HeadedHash(const std::array<std::uint8_t, 32>& hash_key, const char (&label)[kLabelBytes + 1],
             const ChainRoot& root = {})
      : head_(EVP_MD_CTX_new()), work_(EVP_MD_CTX_new()) {
    KVC_ASSERT(head_ != nullptr && work_ != nullptr);
    std::array<std::uint8_t, kHeadBytes> head{};
    std::memcpy(head.data(), hash_key.data(), 32);
    std::memcpy(head.data() + 32, label, kLabelBytes);
    std::memcpy(head.data() + 40, &kFormat, 4);
    const auto root_kind = static_cast<std::uint32_t>(root.kind);
    std::memcpy(head.data() + 44, &root_kind, 4);
    std::memcpy(head.data() + 48, root.id.bytes.data(), 16);
    KVC_ASSERT(EVP_DigestInit_ex2(head_.get(), Sha256(), nullptr) == 1);
    KVC_ASSERT(EVP_DigestUpdate(head_.get(), head.data(), head.size()) == 1);
  }

  template <typename Id>
  Id Finish(std::span<const std::uint8_t> fixed, const void* last, std::size_t last_bytes) {
    std::array<std::uint8_t, 32> digest;
    KVC_ASSERT(EVP_MD_CTX_copy_ex(work_.get(), head_.get()) == 1);
    KVC_ASSERT(EVP_DigestUpdate(work_.get(), fixed.data(), fixed.size()) == 1);
    KVC_ASSERT(EVP_DigestUpdate(work_.get(), last, last_bytes) == 1);
    KVC_ASSERT(EVP_DigestFinal_ex(work_.get(), digest.data(), nullptr) == 1);
    Id id;
    std::memcpy(id.bytes.data(), digest.data(), id.bytes.size());
    return id;
  }

 private:
  Context head_;
  Context work_;
};

}  // namespace

ChainHasher::ChainHasher(const DomainSecret& secret, const Fingerprint& fingerprint) {
  std::array<std::uint8_t, sizeof kHashKeyLabel - 1 + 16> message;
  std::memcpy(message.data(), kHashKeyLabel, sizeof kHashKeyLabel - 1);
  std::memcpy(message.data() + sizeof kHashKeyLabel - 1, fingerprint.bytes.data(), 16);
  unsigned int size = 0;
  KVC_ASSERT(HMAC(Sha256(), secret.data(), static_cast<int>(secret.size()), message.data(),
                  message.size(), hash_key_.data(), &size) != nullptr);
  KVC_ASSERT(size == hash_key_.size());
}

std::vector<BlockKey> ChainHasher::Chain(std::span<const TokenId> tokens,
                                         std::uint32_t block_tokens, bool with_short_last,
                                         std::span<const BlockKey> known) const {
  KVC_ASSERT(block_tokens > 0 && known.size() <= tokens.size() / block_tokens);
  return ChainFrom({}, {}, tokens, block_tokens, with_short_last, {known.begin(), known.end()});
}

std::vector<BlockKey> ChainHasher::CanonicalChain(const ChainRoot& root,
                                                  std::span<const TokenId> chunk,
                                                  std::uint32_t block_tokens) const {
  KVC_ASSERT(block_tokens > 0 && root.kind != RootKind::kEmpty);
  BlockKey parent;
  parent.bytes = ContentKeyOf(chunk).bytes;
  return ChainFrom(root, parent, chunk, block_tokens, true, {});
}

std::vector<BlockKey> ChainHasher::ChainFrom(const ChainRoot& root, const BlockKey& parent,
                                             std::span<const TokenId> tokens,
                                             std::uint32_t block_tokens, bool with_short_last,
                                             std::vector<BlockKey> keys) const {
  keys.reserve(tokens.size() / block_tokens + 1);
  HeadedHash hash(hash_key_, "chain   ", root);
  std::array<std::uint8_t, 20> fixed{};  // parent, block size
  std::memcpy(fixed.data(), (keys.empty() ? parent : keys.back()).bytes.data(), 16);
  std::memcpy(fixed.data() + 16, &block_tokens, 4);
  for (std::size_t begin = keys.size() * block_tokens; begin < tokens.size();
       begin += block_tokens) {
    const std::size_t count = std::min<std::size_t>(block_tokens, tokens.size() - begin);
    if (count < block_tokens && !with_short_last) break;
    keys.push_back(hash.Finish<BlockKey>(fixed, tokens.data() + begin, count * sizeof(TokenId)));
    std::memcpy(fixed.data(), keys.back().bytes.data(), 16);
  }
  return keys;
}

ChainRoot ChainHasher::RootOf(RootKind kind, std::span<const std::vector<TokenId>> prefaces,
                              std::uint32_t loadings_version) const {
  KVC_ASSERT(kind != RootKind::kEmpty);
  std::vector<std::uint32_t> words;  // each preface after its length
  for (const std::vector<TokenId>& preface : prefaces) {
    words.push_back(static_cast<std::uint32_t>(preface.size()));
    words.insert(words.end(), preface.begin(), preface.end());
  }
  const std::array<std::uint32_t, 2> header{static_cast<std::uint32_t>(prefaces.size()),
                                            prefaces.size() > 1 ? loadings_version : 0};
  std::array<std::uint8_t, sizeof header> fixed;
  std::memcpy(fixed.data(), header.data(), sizeof header);
  const ChainRoot unnamed{kind, {}};
  return {kind, HeadedHash(hash_key_, "prefaces", unnamed)
                    .Finish<RootId>(fixed, words.data(), words.size() * sizeof(std::uint32_t))};
}

BlockKey ChainHasher::RevisionKey(const DocumentKey& document, std::uint64_t revision,
                                  std::uint32_t index) const {
  std::array<std::uint8_t, 28> fixed;
  std::memcpy(fixed.data(), document.bytes.data(), 16);
  std::memcpy(fixed.data() + 16, &revision, 8);
  std::memcpy(fixed.data() + 24, &index, 4);
  return HeadedHash(hash_key_, "revision").Finish<BlockKey>(fixed, nullptr, 0);
}

DocumentKey ChainHasher::KeyOfDocument(std::string_view name) const {
  return HeadedHash(hash_key_, "document").Finish<DocumentKey>({}, name.data(), name.size());
}

DocumentKey ChainHasher::KeyOfLibraryDocument(std::string_view name) const {
  return HeadedHash(hash_key_, "library ").Finish<DocumentKey>({}, name.data(), name.size());
}

std::array<std::uint8_t, 16> ChainHasher::Digest(const char (&label)[9],
                                                 std::string_view message) const {
  return HeadedHash(hash_key_, label).Finish<ContentKey>({}, message.data(), message.size()).bytes;
}

ContentKey ChainHasher::ContentKeyOf(std::span<const TokenId> tokens) const {
  return HeadedHash(hash_key_, "content ")
      .Finish<ContentKey>({}, tokens.data(), tokens.size() * sizeof(TokenId));
}

}  // namespace kvcommons
