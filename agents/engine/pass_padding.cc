#include "agents/engine/pass_padding.h"

namespace kvcommons {
namespace {

// Thread time, measured on passes of 2 to 96 rows behind 600, 2,100 and 5,200 (Xeon with AMX) and
// of 12 to 190 rows behind 90 to 230 (EPYC with AVX2); only the ratios matter. Per parameter and
// row; per attention element, row and row of context.
constexpr double kParameterNs = 0.08;
constexpr double kAmxParameterNs = 0.017;
constexpr double kTiledNs = 0.12;
constexpr double kRowByRowNs = 1.5;

}  // namespace

std::uint32_t PaddingRows(const PaddingModel& model, std::uint64_t rows, std::uint64_t context,
                          std::uint32_t ubatch) {
  if (ubatch < kFlashTileRows) return 0;
  const std::uint64_t last = rows % ubatch;  // what earlier ubatches leave
  // One row has a way of its own.
  if (last <= 1 || last >= kFlashTileRows) return 0;
  const double work =
      (model.has_amx ? kAmxParameterNs : kParameterNs) * static_cast<double>(model.parameters);
  const double attention =
      static_cast<double>(model.attention_elements) * static_cast<double>(context);
  const double plain = static_cast<double>(last) * (work + kRowByRowNs * attention);
  const double padded = kFlashTileRows * (work + kTiledNs * attention);
  return padded < plain ? static_cast<std::uint32_t>(kFlashTileRows - last) : 0;
}

}  // namespace kvcommons
