#include "agents/engine/gguf_file.h"

#include <fcntl.h>
#include <ggml.h>
#include <gguf.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include "agents/engine/llama_log.h"
#include "base/assert.h"

namespace kvcommons {
namespace {

// llama.cpp's own constants; beyond them it aborts.
struct Range {
  const char* key;
  double low;
  double high;
  bool required;
};
constexpr Range kRanges[] = {
    {"block_count", 1, 512, true},
    {"context_length", 1, 1 << 24, true},
    {"embedding_length", 1, 1 << 20, true},
    {"attention.head_count", 1, 1024, true},
    {"attention.head_count_kv", 1, 1024, false},
    {"attention.key_length", 1, 1024, false},
    {"attention.value_length", 1, 1024, false},
    {"rope.dimension_count", 2, 1024, false},
    {"rope.freq_base", 1, 1e12, false},
    {"rope.scaling.factor", 1e-6, 1e6, false},
    {"expert_count", 0, 512, false},
    {"expert_used_count", 0, 512, false},
    {"expert_group_count", 0, 512, false},
};

class Hasher {
 public:
  Hasher() : context_(EVP_MD_CTX_new()) {
    KVC_ASSERT(context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1);
  }
  ~Hasher() { EVP_MD_CTX_free(context_); }
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  void Add(const void* bytes, std::size_t size) {
    KVC_ASSERT(EVP_DigestUpdate(context_, bytes, size) == 1);
  }
  void AddNumber(std::uint64_t value) { Add(&value, sizeof value); }
  void AddText(std::string_view text) {
    AddNumber(text.size());
    Add(text.data(), text.size());
  }
  Sha256 Finish() {
    Sha256 hash{};
    KVC_ASSERT(EVP_DigestFinal_ex(context_, hash.data(), nullptr) == 1);
    return hash;
  }

 private:
  EVP_MD_CTX* context_;
};

std::size_t ElementSize(gguf_type type) {
  switch (type) {
    case GGUF_TYPE_UINT8:
    case GGUF_TYPE_INT8:
    case GGUF_TYPE_BOOL:
      return 1;
    case GGUF_TYPE_UINT16:
    case GGUF_TYPE_INT16:
      return 2;
    case GGUF_TYPE_UINT32:
    case GGUF_TYPE_INT32:
    case GGUF_TYPE_FLOAT32:
      return 4;
    case GGUF_TYPE_UINT64:
    case GGUF_TYPE_INT64:
    case GGUF_TYPE_FLOAT64:
      return 8;
    default:
      return 0;
  }
}

void HashKey(Hasher& hasher, const gguf_context* gguf, std::int64_t id) {
  hasher.AddText(gguf_get_key(gguf, id));
  gguf_type type = gguf_get_kv_type(gguf, id);
  const bool array = type == GGUF_TYPE_ARRAY;
  if (array) type = gguf_get_arr_type(gguf, id);
  const std::size_t count = array ? gguf_get_arr_n(gguf, id) : 1;
  hasher.AddNumber(static_cast<std::uint64_t>(type));
  hasher.AddNumber(array ? count + 1 : 0);
  if (type == GGUF_TYPE_STRING) {
    for (std::size_t i = 0; i < count; ++i) {
      hasher.AddText(array ? gguf_get_arr_str(gguf, id, i) : gguf_get_val_str(gguf, id));
    }
  } else if (count > 0) {
    hasher.Add(array ? gguf_get_arr_data(gguf, id) : gguf_get_val_data(gguf, id),
               count * ElementSize(type));
  }
}

// Element `index` of a number, or of an array of numbers.
std::optional<double> NumberAt(const gguf_context* gguf, std::int64_t id, std::size_t index) {
  gguf_type type = gguf_get_kv_type(gguf, id);
  const void* data = nullptr;
  if (type == GGUF_TYPE_ARRAY) {
    type = gguf_get_arr_type(gguf, id);
    if (type == GGUF_TYPE_STRING || index >= gguf_get_arr_n(gguf, id)) return std::nullopt;
    data = gguf_get_arr_data(gguf, id);
  } else {
    if (type == GGUF_TYPE_STRING || index > 0) return std::nullopt;
    data = gguf_get_val_data(gguf, id);
  }
  const auto* at = static_cast<const std::byte*>(data) + index * ElementSize(type);
  const auto load = [at](auto value) {
    std::memcpy(&value, at, sizeof value);
    return static_cast<double>(value);
  };
  switch (type) {
    case GGUF_TYPE_UINT8:
    case GGUF_TYPE_BOOL:
      return load(std::uint8_t{});
    case GGUF_TYPE_INT8:
      return load(std::int8_t{});
    case GGUF_TYPE_UINT16:
      return load(std::uint16_t{});
    case GGUF_TYPE_INT16:
      return load(std::int16_t{});
    case GGUF_TYPE_UINT32:
      return load(std::uint32_t{});
    case GGUF_TYPE_INT32:
      return load(std::int32_t{});
    case GGUF_TYPE_FLOAT32:
      return load(float{});
    case GGUF_TYPE_UINT64:
      return load(std::uint64_t{});
    case GGUF_TYPE_INT64:
      return load(std::int64_t{});
    case GGUF_TYPE_FLOAT64:
      return load(double{});
    default:
      return std::nullopt;
  }
}

}  // namespace

void GgufFile::Free::operator()(gguf_context* context) const { gguf_free(context); }

GgufFile::GgufFile(GgufFile&& other) noexcept { *this = std::move(other); }

GgufFile& GgufFile::operator=(GgufFile&& other) noexcept {
  architecture_ = std::move(other.architecture_);
  context_ = std::move(other.context_);
  std::swap(bytes_, other.bytes_);
  std::swap(size_, other.size_);
  return *this;
}

GgufFile::~GgufFile() {
  if (bytes_ != nullptr) munmap(const_cast<std::byte*>(bytes_), size_);
}

Status GgufFile::Map(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return NotFound("model " + path + " cannot be opened (" + std::strerror(errno) +
                    "); name a GGUF file");
  }
  struct stat info {};
  void* mapped = MAP_FAILED;
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
    size_ = static_cast<std::size_t>(info.st_size);
    mapped = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
  }
  close(fd);
  if (mapped == MAP_FAILED) {
    size_ = 0;
    return InvalidArgument("model " + path + " is not a readable, non-empty file");
  }
  bytes_ = static_cast<const std::byte*>(mapped);
  return Status();
}

Result<GgufFile> GgufFile::Open(const std::string& path) {
  StartLlama();
  GgufFile file;
  KVC_FAIL_IF_ERROR(file.Map(path));
  TakeLlamaComplaint();
  try {
    file.context_.reset(gguf_init_from_file(path.c_str(), {.no_alloc = true, .ctx = nullptr}));
  } catch (const std::exception& error) {
    return Fail(Corrupted("model " + path + " is not a GGUF file: " + error.what()));
  }
  if (file.context_ == nullptr) {
    return Fail(Corrupted("model " + path + " is not a whole GGUF file: " + TakeLlamaComplaint()));
  }
  const std::optional<std::string> architecture = file.Text("general.architecture");
  if (!architecture || architecture->empty() || architecture->size() > 64) {
    return Fail(Corrupted("model " + path + " names no architecture of 1 to 64 letters"));
  }
  file.architecture_ = *architecture;
  for (const Status& status : {file.CheckTensors(), file.CheckNumbers(), file.CheckTokenizer()}) {
    if (!status.ok()) return Fail(Status(status.code(), "model " + path + ": " + status.message()));
  }
  return file;
}

Status GgufFile::CheckTensors() const {
  const std::int64_t count = gguf_get_n_tensors(context_.get());
  if (count < 1) return Corrupted("it has no tensors");
  if (const auto parts = Number("split.count"); parts && *parts > 1) {
    return Unsupported("it is one part of several; join them with llama.cpp's gguf-split first");
  }
  const std::size_t start = gguf_get_data_offset(context_.get());
  for (std::int64_t id = 0; id < count; ++id) {
    const std::size_t offset = gguf_get_tensor_offset(context_.get(), id);
    const std::size_t bytes = gguf_get_tensor_size(context_.get(), id);
    if (start > size_ || offset > size_ - start || bytes > size_ - start - offset) {
      return Corrupted(std::string("tensor ") + gguf_get_tensor_name(context_.get(), id) +
                       " ends beyond the file's " + std::to_string(size_) + " bytes");
    }
  }
  return Status();
}

Status GgufFile::CheckNumbers() const {
  for (const Range& range : kRanges) {
    const std::int64_t id = Find(range.key);
    if (id < 0) {
      if (range.required) return Corrupted(std::string(range.key) + " is missing");
      continue;
    }
    const bool array = gguf_get_kv_type(context_.get(), id) == GGUF_TYPE_ARRAY;
    const std::size_t count = array ? gguf_get_arr_n(context_.get(), id) : 1;
    for (std::size_t i = 0; i < std::max<std::size_t>(count, 1); ++i) {
      const std::optional<double> value = NumberAt(context_.get(), id, i);
      if (!value || !std::isfinite(*value) || *value < range.low || *value > range.high) {
        return Corrupted(std::string(range.key) + " is " +
                         (value ? std::to_string(*value) : "not a number") + "; the limit is " +
                         std::to_string(range.low) + " to " + std::to_string(range.high));
      }
    }
  }
  // llama.cpp asserts on a scaling type that it does not know.
  const std::int64_t scaling = Find("rope.scaling.type");
  if (scaling >= 0) {
    const std::optional<std::string> type = Text("rope.scaling.type");
    if (!type || (*type != "none" && *type != "linear" && *type != "yarn" && *type != "longrope")) {
      return Unsupported("rope.scaling.type is " + type.value_or("not text") +
                         "; known are none, linear, yarn, longrope");
    }
  }
  return Status();
}

Status GgufFile::CheckTokenizer() const {
  const std::int64_t tokens = gguf_find_key(context_.get(), "tokenizer.ggml.tokens");
  if (tokens < 0 || gguf_get_kv_type(context_.get(), tokens) != GGUF_TYPE_ARRAY ||
      gguf_get_arr_type(context_.get(), tokens) != GGUF_TYPE_STRING) {
    return Corrupted("tokenizer.ggml.tokens is not a list of texts");
  }
  const std::size_t count = gguf_get_arr_n(context_.get(), tokens);
  if (count < 1 || count > (1U << 22)) {
    return Corrupted("tokenizer.ggml.tokens has " + std::to_string(count) +
                     " entries; the limit is 1 to 4194304");
  }
  // llama.cpp reads these beside the tokens, entry by entry, as the types below.
  for (const auto& [key, type] : {std::pair{"tokenizer.ggml.scores", GGUF_TYPE_FLOAT32},
                                  std::pair{"tokenizer.ggml.token_type", GGUF_TYPE_INT32}}) {
    const std::int64_t id = gguf_find_key(context_.get(), key);
    if (id < 0) continue;
    if (gguf_get_kv_type(context_.get(), id) != GGUF_TYPE_ARRAY ||
        gguf_get_arr_type(context_.get(), id) != type ||
        gguf_get_arr_n(context_.get(), id) != count) {
      return Corrupted(std::string(key) + " is not a list of " + std::to_string(count) +
                       " numbers, one for each token");
    }
  }
  return Status();
}

std::int64_t GgufFile::Find(std::string_view key) const {
  const std::int64_t own =
      gguf_find_key(context_.get(), (architecture_ + "." + std::string(key)).c_str());
  return own >= 0 ? own : gguf_find_key(context_.get(), std::string(key).c_str());
}

bool GgufFile::Has(const std::string& key) const { return Find(key) >= 0; }

std::optional<double> GgufFile::Number(std::string_view key) const {
  const std::int64_t id = Find(key);
  return id < 0 ? std::nullopt : NumberAt(context_.get(), id, 0);
}

std::optional<std::string> GgufFile::Text(std::string_view key) const {
  const std::int64_t id = Find(key);
  if (id < 0 || gguf_get_kv_type(context_.get(), id) != GGUF_TYPE_STRING) return std::nullopt;
  return gguf_get_val_str(context_.get(), id);
}

bool GgufFile::Varies(std::string_view key) const {
  const std::int64_t id = Find(key);
  if (id < 0 || gguf_get_kv_type(context_.get(), id) != GGUF_TYPE_ARRAY) return false;
  for (std::size_t i = 1; i < gguf_get_arr_n(context_.get(), id); ++i) {
    if (NumberAt(context_.get(), id, i) != NumberAt(context_.get(), id, 0)) return true;
  }
  return false;
}

std::optional<std::vector<float>> GgufFile::Floats(const char* tensor) const {
  const std::int64_t id = gguf_find_tensor(context_.get(), tensor);
  if (id < 0 || gguf_get_tensor_type(context_.get(), id) != GGML_TYPE_F32) return std::nullopt;
  std::vector<float> values(gguf_get_tensor_size(context_.get(), id) / sizeof(float));
  std::memcpy(
      values.data(),
      bytes_ + gguf_get_data_offset(context_.get()) + gguf_get_tensor_offset(context_.get(), id),
      values.size() * sizeof(float));
  return values;
}

Sha256 GgufFile::TokenizerHash() const {
  Hasher hasher;
  for (std::int64_t id = 0; id < gguf_get_n_kv(context_.get()); ++id) {
    const std::string_view key = gguf_get_key(context_.get(), id);
    if (key.starts_with("tokenizer.")) HashKey(hasher, context_.get(), id);
  }
  return hasher.Finish();
}

Sha256 GgufFile::WeightsHash() const {
  Hasher hasher;
  hasher.AddText(architecture_);
  for (std::int64_t id = 0; id < gguf_get_n_kv(context_.get()); ++id) {
    const std::string_view key = gguf_get_key(context_.get(), id);
    if (key.starts_with(architecture_ + ".")) HashKey(hasher, context_.get(), id);
  }
  const std::byte* data = bytes_ + gguf_get_data_offset(context_.get());
  for (std::int64_t id = 0; id < gguf_get_n_tensors(context_.get()); ++id) {
    hasher.AddText(gguf_get_tensor_name(context_.get(), id));
    hasher.AddNumber(static_cast<std::uint64_t>(gguf_get_tensor_type(context_.get(), id)));
    hasher.Add(gguf_get_tensor_ne(context_.get(), id), GGML_MAX_DIMS * sizeof(std::int64_t));
    const std::size_t bytes = gguf_get_tensor_size(context_.get(), id);
    hasher.AddNumber(bytes);
    hasher.Add(data + gguf_get_tensor_offset(context_.get(), id), bytes);
  }
  return hasher.Finish();
}

}  // namespace kvcommons
