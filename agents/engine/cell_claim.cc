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

CacheMemory CellClaim::View(std::byte* at, std::size_t cells, bool writes_headers) const {
  const std::size_t element = ElementBytes(type_);
  CacheMemory memory;
  memory.layers.resize(layer_count_);
  memory.value_transposed = value_transposed_;
  memory.cell_count = static_cast<std::uint32_t>(cells);
  memory.row_elements = static_cast<std::uint32_t>(row_elements_);
  memory.type = type_;
  const ggml_type type = type_ == ElementType::kFp32 ? GGML_TYPE_F32 : GGML_TYPE_F16;
  for (std::size_t plane = 0; plane < 2 * layer_count_; ++plane) {
    if (writes_headers) {
      std::byte* head = at;
      Put<std::int32_t>(head, type);
      if (plane >= layer_count_ && value_transposed_) {
        Put<std::uint32_t>(head, static_cast<std::uint32_t>(element));
        Put<std::uint32_t>(head, static_cast<std::uint32_t>(row_elements_));
      } else {
        Put<std::uint64_t>(head, row_elements_ * element);
      }
    }
    at += kRowsHeadBytes;
    CacheMemory::Layer& layer = memory.layers[plane % layer_count_];
    (plane < layer_count_ ? layer.key : layer.value) = at;
    at += cells * row_elements_ * element;
  }
  return memory;
}

CacheMemory CellClaim::Begin(std::span<const Position> positions) {
  begun_cells_ = positions.size();
  std::byte* at = blob_;
  Put<std::uint32_t>(at, kMagic);
  Put<std::int32_t>(at, 0);
  Put<std::uint32_t>(at, 1);
  Put<std::uint32_t>(at, static_cast<std::uint32_t>(begun_cells_));
  for (const Position position : positions) {
    Put<std::int32_t>(at, position);
    Put<std::uint32_t>(at, 1);
    Put<std::int32_t>(at, 0);
  }
  Put<std::uint32_t>(at, value_transposed_ ? 1 : 0);
  Put<std::uint32_t>(at, static_cast<std::uint32_t>(layer_count_));
  return View(at, begun_cells_, true);
}

Status CellClaim::Finish(llama_context* context) {
  const std::size_t blob_bytes = BlobBytes(begun_cells_);
  const std::size_t read = llama_state_seq_set_data(
      context, reinterpret_cast<const std::uint8_t*>(blob_), blob_bytes, 0);
  // The pages go back: the next blob has its headers elsewhere, and rows must read as zeros.
  madvise(blob_, reserved_bytes_, MADV_DONTNEED);
  if (read != blob_bytes) {
    return Internal("llama.cpp took " + std::to_string(read) + " of " + std::to_string(blob_bytes) +
                    " bytes of a sequence state: " + TakeLlamaComplaint());
  }
  return Status();
}

Status CellClaim::Claim(llama_context* context, std::span<const Position> positions) {
  Begin(positions);
  return Finish(context);
}

Result<CellClaim::Held> CellClaim::Read(llama_context* context) const {
  const Status refused = Unsupported("this llama.cpp's sequence state has another form");
  Held held;
  held.state.resize(llama_state_seq_get_size(context, 0));
  const std::size_t bytes =
      llama_state_seq_get_data(context, held.state.data(), held.state.size(), 0);
  if (bytes != held.state.size() || bytes < kHeadBytes) return Fail(refused);
  auto* const blob = reinterpret_cast<std::byte*>(held.state.data());
  std::uint32_t cells = 0;
  std::memcpy(&cells, blob + kHeadBytes - sizeof cells, sizeof cells);
  if (cells > cell_count_ || bytes != BlobBytes(cells)) return Fail(refused);
  for (std::uint32_t cell = 0; cell < cells; ++cell) {
    std::int32_t position = 0;
    std::memcpy(&position, blob + kHeadBytes + cell * kCellBytes, sizeof position);
    held.positions.push_back(position);
  }
  held.rows = View(blob + kHeadBytes + cells * kCellBytes + kLayoutBytes, cells, false);
  return held;
}

}  // namespace kvcommons
