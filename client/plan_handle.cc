#include "client/plan_handle.h"

#include <optional>
#include <string>
#include <utility>

#include "client/staging_batch.h"

namespace kvcommons {
namespace {

class PlanHandleImpl final : public PlanHandle {
 public:
  PlanHandleImpl(std::shared_ptr<Connection> connection,
                 std::shared_ptr<const ModelProfile> profile, bool has_document)
      : connection_(std::move(connection)),
        profile_(std::move(profile)),
        has_document_(has_document) {}

  ~PlanHandleImpl() noexcept override {
    plan_.reset();
    connection_->Push();
  }

  PlanHandleImpl(const PlanHandleImpl&) = delete;
  PlanHandleImpl& operator=(const PlanHandleImpl&) = delete;

  // REQUIRES: inside Guarded().
  Status Take(rpc::PlanReply::Reader reply, rpc::Plan::Client plan, std::size_t token_count) {
    plan_.emplace(kj::mv(plan));
    const auto find_slab = [this](std::uint32_t slab_id) { return connection_->Slab(slab_id); };
    return ReadPlan(reply, *profile_, token_count, find_slab, *this, slabs_);
  }

  bool StillHeld() override {
    const Result<bool> held = connection_->Guarded("check", [this]() -> Result<bool> {
      return connection_->Await(plan().checkRequest(capnp::MessageSize{8, 0}).send()).getHeld();
    });
    return held && *held;
  }

  Result<CommitOutcome> Commit(const RowReader& read_rows, UploadAck ack) override {
    CommitOutcome total;
    std::size_t next = 0;
    while (next < pieces.size()) {
      Result<std::vector<Staged>> batch = Stage(read_rows, next);
      if (!batch) return Fail(batch.error());
      next += batch->size();
      KVC_FAIL_IF_ERROR(Send(*batch, ack, next == pieces.size(), total));
    }
    if (pieces.empty() && has_document_) KVC_FAIL_IF_ERROR(Send({}, ack, true, total));
    return total;
  }

 private:
  struct Staged {
    std::uint32_t begin;
    std::uint64_t offset;
  };

  rpc::Plan::Client& plan() { return plan_.value(); }

  // Writes pieces from `first` on into staging, as many as fit.
  Result<std::vector<Staged>> Stage(const RowReader& read_rows, std::size_t first) {
    auto places = StagingBatch::Begin(*connection_);
    if (!places) return Fail(places.error());
    const std::size_t token_bytes = profile_->planes().TokenBytes();
    std::vector<Staged> batch;
    for (std::size_t i = first; i < pieces.size(); ++i) {
      const PlannedPiece& piece = pieces[i];
      const std::uint32_t count = static_cast<std::uint32_t>(piece.end - piece.begin);
      auto place =
          places->Take("a piece of " + std::to_string(count) + " tokens", token_bytes * count);
      if (!place) return Fail(place.error());
      if (!*place) break;
      KVC_FAIL_IF_ERROR(read_rows(piece.begin, count, (*place)->data));
      batch.push_back({static_cast<std::uint32_t>(piece.begin), (*place)->offset_bytes});
    }
    return batch;
  }

  Status Send(const std::vector<Staged>& batch, UploadAck ack, bool is_last, CommitOutcome& total) {
    bool answered = false;
    const Result<void> outcome = connection_->Guarded("commit", [&]() -> Result<void> {
      auto request = plan().commitRequest();
      auto list = request.initPieces(static_cast<unsigned>(batch.size()));
      for (unsigned i = 0; i < list.size(); ++i) {
        list[i].setBegin(batch[i].begin);
        list[i].setOffset(batch[i].offset);
      }
      request.setAck(static_cast<std::uint8_t>(ack));
      request.setFinish(is_last && has_document_);
      auto response = connection_->Await(request.send());
      answered = true;
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      total.stored += response.getStored();
      total.present += response.getPresent();
      total.durable += response.getDurable();
      total.took_us += response.getTookUs();
      if (is_last) total.revision = response.getRevision();
      return {};
    });
    if (!answered) connection_->AbandonStaging();
    return outcome ? Status() : outcome.error();
  }

  std::shared_ptr<Connection> connection_;
  std::shared_ptr<const ModelProfile> profile_;
  const bool has_document_;
  std::optional<rpc::Plan::Client> plan_;
  std::vector<std::shared_ptr<Mapping>> slabs_;  // what the spans point into stays mapped
};

// Of a Model or a Library.
template <typename Planner>
Result<std::unique_ptr<PlanHandle>> MakeHandle(std::shared_ptr<Connection> connection,
                                               Planner& planner,
                                               std::shared_ptr<const ModelProfile> profile,
                                               const PlanRequest& request) {
  const std::size_t token_count = request.tokens.size();
  auto handle =
      std::make_unique<PlanHandleImpl>(connection, std::move(profile), !request.document.empty());
  return connection->Guarded("plan", [&]() -> Result<std::unique_ptr<PlanHandle>> {
    // With the size told, the message is one allocation.
    auto message = planner.planRequest(capnp::MessageSize{
        token_count / 2 + request.document.size() / 8 + request.chunks.size() + 64, 0});
    FillPlanRequest(request, message.initRequest());
    auto response = connection->Await(message.send());
    if (response.hasError()) return Fail(StatusOf(response.getError()));
    if (!response.hasPlan()) return Fail(Internal("the daemon answered no plan"));
    KVC_FAIL_IF_ERROR(handle->Take(response.getReply(), response.getPlan(), token_count));
    return std::unique_ptr<PlanHandle>(std::move(handle));
  });
}

}  // namespace

Result<std::unique_ptr<PlanHandle>> TakePlanHandle(std::shared_ptr<Connection> connection,
                                                   std::shared_ptr<const ModelProfile> profile,
                                                   rpc::PlanReply::Reader reply,
                                                   rpc::Plan::Client plan,
                                                   std::size_t token_count) {
  auto handle = std::make_unique<PlanHandleImpl>(std::move(connection), std::move(profile), false);
  KVC_FAIL_IF_ERROR(handle->Take(reply, kj::mv(plan), token_count));
  return std::unique_ptr<PlanHandle>(std::move(handle));
}

Result<std::unique_ptr<PlanHandle>> MakePlanHandle(std::shared_ptr<Connection> connection,
                                                   rpc::Model::Client& model,
                                                   std::shared_ptr<const ModelProfile> profile,
                                                   const PlanRequest& request) {
  return MakeHandle(std::move(connection), model, std::move(profile), request);
}

Result<std::unique_ptr<PlanHandle>> MakePlanHandle(std::shared_ptr<Connection> connection,
                                                   rpc::Library::Client& library,
                                                   std::shared_ptr<const ModelProfile> profile,
                                                   const PlanRequest& request) {
  PlanRequest composed = request;
  composed.policy = Policy::kCompose;
  return MakeHandle(std::move(connection), library, std::move(profile), composed);
}

}  // namespace kvcommons
