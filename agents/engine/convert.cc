#include "agents/engine/convert.h"

#include <fcntl.h>
#include <ggml.h>
#include <gguf.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "agents/engine/gguf_file.h"

namespace kvcommons {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// The metadata with the new types, as bytes.
std::vector<std::byte> NewHeader(const GgufFile& source, ggml_type type) {
  const gguf_context* from = source.context();
  const std::unique_ptr<gguf_context, decltype(&gguf_free)> to(gguf_init_empty(), gguf_free);
  gguf_set_kv(to.get(), from);
  // llama_ftype: 0 is all fp32, 1 mostly fp16.
  gguf_set_val_u32(to.get(), "general.file_type", type == GGML_TYPE_F32 ? 0 : 1);
  for (std::int64_t id = 0; id < gguf_get_n_tensors(from); ++id) {
    ggml_tensor tensor{};
    ggml_set_name(&tensor, gguf_get_tensor_name(from, id));
    std::memcpy(tensor.ne, gguf_get_tensor_ne(from, id), sizeof tensor.ne);
    // Vectors (norms, biases) stay fp32: llama.cpp wants them so.
    tensor.type = tensor.ne[1] == 1 ? GGML_TYPE_F32 : type;
    tensor.nb[0] = ggml_type_size(tensor.type);
    for (int i = 1; i < GGML_MAX_DIMS; ++i) {
      tensor.nb[i] = tensor.nb[i - 1] * static_cast<std::size_t>(tensor.ne[i - 1]);
    }
    gguf_add_tensor(to.get(), &tensor);
  }
  std::vector<std::byte> header(gguf_get_meta_size(to.get()));
  gguf_get_meta_data(to.get(), header.data());
  return header;
}

Status WriteTensors(const GgufFile& source, ggml_type type, std::FILE* target) {
  const gguf_context* from = source.context();
  const std::byte* data = source.bytes() + gguf_get_data_offset(from);
  const std::size_t alignment = gguf_get_alignment(from);
  std::vector<float> values;
  std::vector<ggml_fp16_t> halves;
  for (std::int64_t id = 0; id < gguf_get_n_tensors(from); ++id) {
    const ggml_type from_type = gguf_get_tensor_type(from, id);
    const std::int64_t* shape = gguf_get_tensor_ne(from, id);
    const std::int64_t count = shape[0] * shape[1] * shape[2] * shape[3];
    const std::byte* bytes = data + gguf_get_tensor_offset(from, id);
    values.resize(static_cast<std::size_t>(count));
    if (from_type == GGML_TYPE_F32) {
      std::memcpy(values.data(), bytes, values.size() * sizeof(float));
    } else {
      const ggml_to_float_t to_float = ggml_get_type_traits(from_type)->to_float;
      if (to_float == nullptr) {
        return Unsupported(std::string("tensor ") + gguf_get_tensor_name(from, id) + " has type " +
                           ggml_type_name(from_type) + ", which ggml cannot turn into numbers");
      }
      to_float(bytes, values.data(), count);
    }
    const void* out = values.data();
    std::size_t out_bytes = values.size() * sizeof(float);
    if (type == GGML_TYPE_F16 && shape[1] != 1) {
      halves.resize(values.size());
      ggml_fp32_to_fp16_row(values.data(), halves.data(), count);
      out = halves.data();
      out_bytes = halves.size() * sizeof(ggml_fp16_t);
    }
    const std::vector<char> padding((alignment - out_bytes % alignment) % alignment, 0);
    if (std::fwrite(out, 1, out_bytes, target) != out_bytes ||
        std::fwrite(padding.data(), 1, padding.size(), target) != padding.size()) {
      return Exhausted(std::string("writing failed: ") + std::strerror(errno));
    }
  }
  return Status();
}

}  // namespace

Status ConvertWeights(const std::string& source, const std::string& target, WeightType type) {
  const Result<GgufFile> file = GgufFile::Open(source);
  if (!file) return file.error();
  if (access(target.c_str(), F_OK) == 0) {
    return AlreadyExists(target + " exists; name another file or remove it");
  }
  const ggml_type to = type == WeightType::kFp32 ? GGML_TYPE_F32 : GGML_TYPE_F16;
  const std::string partial = target + ".partial";
  std::unique_ptr<std::FILE, CloseFile> out(std::fopen(partial.c_str(), "wb"));
  if (out == nullptr) {
    return InvalidArgument(partial + " cannot be written: " + std::strerror(errno));
  }
  const std::vector<std::byte> header = NewHeader(*file, to);
  Status status;
  if (std::fwrite(header.data(), 1, header.size(), out.get()) != header.size()) {
    status = Exhausted(partial + ": writing failed: " + std::strerror(errno));
  }
  if (status.ok()) status = WriteTensors(*file, to, out.get());
  if (std::fclose(out.release()) != 0 && status.ok()) {
    status = Exhausted(partial + ": writing failed: " + std::strerror(errno));
  }
  if (status.ok() && std::rename(partial.c_str(), target.c_str()) != 0) {
    status = InvalidArgument(target + " cannot be written: " + std::strerror(errno));
  }
  if (!status.ok()) std::remove(partial.c_str());
  return status;
}

}  // namespace kvcommons
