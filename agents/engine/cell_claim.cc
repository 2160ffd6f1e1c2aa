#include "agents/engine/cell_claim.h"

#include <llama.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "agents/engine/llama_log.h"

namespace kvcommons {
namespace {

constexpr std::uint32_t kMagic = 0xaf143cd8;
constexpr std::size_t kHeadBytes = 4 * 4;    // magic, sequence, streams, cells
constexpr std::size_t kCellBytes = 3 * 4;    // position, number of sequences, sequence
constexpr std::size_t kLayoutBytes = 2 * 4;  // V transposed, layers
constexpr std::size_t kRowsHeadBytes =
    4 + 8;  // type, and row bytes (or element bytes and elements)

template <typename T>
void Put(std::byte*& at, T value) {
  std::memcpy(at, &value, sizeof value);
  at += sizeof value;
}

}  // namespace

CellClaim::~CellClaim() {
  if (blob_ != nullptr) munmap(blob_, reserved_bytes_);
}

std::size_t CellClaim::BlobBytes(std::size_t cells) const {
  return kHeadBytes + cells * kCellBytes + kLayoutBytes +
         2 * layer_count_ * (kRowsHeadBytes + cells * row_elements_ * ElementBytes(type_));
}

Status CellClaim::Reserve(const CacheMemory& memory) {
  layer_count_ = memory.layers.size();
  cell_count_ = memory.cell_count;
  row_elements_ = memory.row_elements;
  type_ = memory.type;
  value_transposed_ = memory.value_transposed;
  reserved_bytes_ = BlobBytes(cell_count_);
  void* region = mmap(nullptr, reserved_bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (region == MAP_FAILED) {
    return Exhausted("no address space for a claim of " + std::to_string(reserved_bytes_) +
                     " bytes; use a smaller context");
  }
  // With huge pages every header would make 2 MiB of memory real.
  madvise(region, reserved_bytes_, MADV_NOHUGEPAGE);
  blob_ = static_cast<std::byte*>(region);
  return Status();
}

Status CellClaim::Claim(llama_context* context, std::span<const Position> positions) {
  const std::size_t cells = positions.size();
  const std::size_t rows_bytes = cells * row_elements_ * ElementBytes(type_);
  std::byte* at = blob_;
  Put<std::uint32_t>(at, kMagic);
  Put<std::int32_t>(at, 0);
  Put<std::uint32_t>(at, 1);
  Put<std::uint32_t>(at, static_cast<std::uint32_t>(cells));
  for (const Position position : positions) {
    Put<std::int32_t>(at, position);
    Put<std::uint32_t>(at, 1);
    Put<std::int32_t>(at, 0);
  }
  Put<std::uint32_t>(at, value_transposed_ ? 1 : 0);
  Put<std::uint32_t>(at, static_cast<std::uint32_t>(layer_count_));
  const ggml_type type = type_ == ElementType::kFp32 ? GGML_TYPE_F32 : GGML_TYPE_F16;
  for (std::size_t plane = 0; plane < 2 * layer_count_; ++plane) {
    Put<std::int32_t>(at, type);
    if (plane >= layer_count_ && value_transposed_) {
      Put<std::uint32_t>(at, static_cast<std::uint32_t>(ElementBytes(type_)));
      Put<std::uint32_t>(at, static_cast<std::uint32_t>(row_elements_));
    } else {
      Put<std::uint64_t>(at, row_elements_ * ElementBytes(type_));
    }
    at += rows_bytes;
  }
  const std::size_t blob_bytes = BlobBytes(cells);
  const std::size_t read = llama_state_seq_set_data(
      context, reinterpret_cast<const std::uint8_t*>(blob_), blob_bytes, 0);
  // The headers' pages go back: the next claim has them elsewhere, and rows must read as zeros.
  madvise(blob_, reserved_bytes_, MADV_DONTNEED);
  if (read != blob_bytes) {
    return Internal("llama.cpp took " + std::to_string(read) + " of " + std::to_string(blob_bytes) +
                    " bytes of a sequence state: " + TakeLlamaComplaint());
  }
  return Status();
}

}  // namespace kvcommons
