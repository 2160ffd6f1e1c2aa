// For the daemon's tests of libraries: what an application and its preparing worker do, over the
// schema, with rows that are any function of token, row, variant and plane.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/daemon_testing.h"
#include "kernels/loadings_layout.h"

namespace kvcommons::testing {

using NextWorkResponse = capnp::Response<rpc::Library::NextWorkResults>;
using WorkCommitResponse = capnp::Response<rpc::Work::CommitResults>;
using LibraryPlanResponse = capnp::Response<rpc::Library::PlanResults>;

inline std::byte CanonicalByte(TokenId token, std::size_t row, RootKind kind, std::size_t plane) {
  return static_cast<std::byte>(token * 31 + static_cast<int>(row * 7 + plane) +
                                100 * static_cast<int>(kind));
}
inline float CanonicalLoading(std::size_t plane, std::size_t row, std::size_t i) {
  return static_cast<float>(plane * 1000 + row) + 0.125f * static_cast<float>(i);
}

// System prompt and public passages that no document or question of a test has.
struct TestPrefaces {
  Tokens system = Text(12, 900);
  std::uint32_t prefaces = 4, passages = 2, preface_tokens = 24;

  void Write(rpc::PrefaceSet::Builder set) const {
    WriteTokens(Text(4, 901), set.initSinkTokens(4));
    WriteTokens(system, set.initSystemTokens(static_cast<unsigned>(system.size())));
    auto neutral = set.initNeutral(prefaces * passages);
    for (unsigned i = 0; i < neutral.size(); ++i) {
      WriteTokens(Text(20, static_cast<TokenId>(910 + i)), neutral.init(i, 20));
    }
    set.setPrefaces(prefaces);
    set.setPassagesPerPreface(passages);
    set.setPrefaceTokens(preface_tokens);
  }

  static void WriteTokens(const Tokens& tokens, capnp::List<std::int32_t>::Builder list) {
    for (unsigned i = 0; i < list.size(); ++i) list.set(i, tokens[i]);
  }
};

class TestLibrary {
 public:
  TestLibrary(TestClient& client, const ModelShape& shape, const TestPrefaces& prefaces = {})
      : client_(client), shape_(shape), model_(client.OpenModel(shape)), library_(Open(prefaces)) {}

  rpc::Model::Client& model() { return model_; }
  rpc::Library::Client& library() { return library_; }

  capnp::Response<rpc::Library::PutResults> Put(const std::string& name, const Tokens& tokens,
                                                const std::vector<std::string>& related = {}) {
    auto request = library_.putRequest();
    request.setName(name.c_str());
    TestPrefaces::WriteTokens(tokens, request.initTokens(static_cast<unsigned>(tokens.size())));
    auto names = request.initRelated(static_cast<unsigned>(related.size()));
    for (unsigned i = 0; i < names.size(); ++i) names.set(i, related[i].c_str());
    return request.send().wait(client_.wait());
  }

  bool Remove(const std::string& name) {
    auto request = library_.removeRequest();
    request.setName(name.c_str());
    return request.send().wait(client_.wait()).getRemoved();
  }

  NextWorkResponse NextWork(std::uint32_t variants = 0) {
    auto request = library_.nextWorkRequest();
    request.setVariants(variants);
    return request.send().wait(client_.wait());
  }

  // Computes and hands in blocks [first, last) of the work; all of them when `last` is 0.
  WorkCommitResponse Commit(NextWorkResponse& next, std::uint32_t rank = 0, unsigned first = 0,
                            unsigned last = 0, bool finish = true,
                            std::uint32_t version = kLoadingsVersion) {
    if (staging_ == nullptr) staging_ = client_.Staging(kMiB);
    const auto description = next.getDescription();
    const auto tokens = description.getTokens();
    const unsigned count = (tokens.size() + shape_.block_tokens - 1) / shape_.block_tokens;
    if (last == 0) last = count;
    auto request = next.getWork().commitRequest();
    auto blocks = request.initBlocks(last - first);
    std::size_t offset = 0;
    for (unsigned i = first; i < last; ++i) {
      blocks[i - first].setIndex(i);
      blocks[i - first].setOffset(offset);
      offset += WriteBlock(description, i, rank, staging_ + offset);
    }
    request.setFinish(finish);
    request.setPrepareUs(1000);
    request.setLoadingsVersion(rank == 0 ? 0 : version);
    request.setLoadingsRank(rank);
    return request.send().wait(client_.wait());
  }

  // Prepares whatever there is to do; returns what was done, as "system a, mean a".
  std::string PrepareAll(std::uint32_t variants = 0, std::uint32_t rank = 0) {
    std::string done;
    for (;;) {
      auto next = NextWork(variants);
      EXPECT_EQ(MessageOf(next), "");
      if (!next.hasWork()) return done;
      const auto committed = Commit(next, rank);
      EXPECT_EQ(MessageOf(committed), "");
      if (!done.empty()) done += ", ";
      done += RootKindName(static_cast<RootKind>(next.getDescription().getKind()));
      done += std::string(" ") + next.getDescription().getName().cStr();
    }
  }

  LibraryPlanResponse Plan(const Tokens& tokens,
                           const std::vector<std::pair<std::uint32_t, std::uint32_t>>& chunks,
                           std::uint32_t store_tokens = 0, std::uint32_t variants = 0) {
    auto call = library_.planRequest();
    auto request = call.initRequest();
    TestPrefaces::WriteTokens(tokens, request.initTokens(static_cast<unsigned>(tokens.size())));
    request.setPolicy(static_cast<std::uint8_t>(Policy::kCompose));
    request.setStoreTokens(store_tokens);
    request.setMinChunkRows(4);
    request.setMinRun(4);
    request.setVariants(variants);
    auto list = request.initChunks(static_cast<unsigned>(chunks.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setBegin(chunks[i].first);
      list[i].setEnd(chunks[i].second);
    }
    return call.send().wait(client_.wait());
  }

  // "exact 16, canonical_mean 20, compute 5": runs of a plan by reason, blocks joined.
  static std::string Shape(const LibraryPlanResponse& plan) {
    std::vector<std::pair<std::string, unsigned>> runs;
    std::string reason;
    for (const auto span : plan.getReply().getSpans()) {
      if (span.hasReason()) reason = span.getReason().cStr();
      const unsigned rows = span.getEnd() - span.getBegin();
      if (!runs.empty() && runs.back().first == reason) {
        runs.back().second += rows;
      } else {
        runs.emplace_back(reason, rows);
      }
    }
    std::string text;
    for (const auto& [name, rows] : runs) {
      text += (text.empty() ? "" : ", ") + name + " " + std::to_string(rows);
    }
    return text;
  }

  capnp::Response<rpc::Library::StatusResults> GetStatus() {
    return library_.statusRequest().send().wait(client_.wait());
  }

 private:
  rpc::Library::Client Open(const TestPrefaces& prefaces) {
    auto request = model_.openLibraryRequest();
    prefaces.Write(request.initPrefaces());
    auto response = request.send().wait(client_.wait());
    EXPECT_EQ(MessageOf(response), "");
    return response.getLibrary();
  }

  // Returns the bytes written, rounded up to whole pages.
  std::size_t WriteBlock(rpc::WorkDescription::Reader work, unsigned index, std::uint32_t rank,
                         std::byte* to) const {
    const auto tokens = work.getTokens();
    const unsigned begin = index * shape_.block_tokens;
    const unsigned rows = std::min(shape_.block_tokens, tokens.size() - begin);
    const std::size_t row_bytes = std::size_t{shape_.heads} * shape_.head_dim * 2;
    std::size_t used = 0;
    for (std::size_t plane = 0; plane < 2 * std::size_t{shape_.layers}; ++plane) {
      for (unsigned row = 0; row < rows; ++row) {
        const std::byte byte = CanonicalByte(tokens[begin + row], begin + row,
                                             static_cast<RootKind>(work.getKind()), plane);
        std::memset(to + used, static_cast<int>(byte), row_bytes);
        used += row_bytes;
      }
    }
    const LoadingsLayout layout{2 * std::size_t{shape_.layers}, rows, rank};
    auto* next = reinterpret_cast<float*>(to + LoadingsLayout::OffsetBytes(used));
    for (std::size_t plane = 0; rank > 0 && plane < layout.planes; ++plane) {
      for (unsigned row = 0; row < rows; ++row) {
        for (std::uint32_t i = 0; i < rank; ++i) {
          *next++ = CanonicalLoading(plane, begin + row, i);
        }
      }
      *next++ = static_cast<float>(plane) + 0.5f;
    }
    return (LoadingsLayout::BlockBytes(used, layout.Bytes()) + 4095) / 4096 * 4096;
  }

  TestClient& client_;
  const ModelShape shape_;
  rpc::Model::Client model_;
  rpc::Library::Client library_;
  std::byte* staging_ = nullptr;
};

}  // namespace kvcommons::testing
