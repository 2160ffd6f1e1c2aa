#include "daemon/rpc_work.h"

#include <utility>

#include "daemon/rpc_plan.h"

namespace kvcommons {
namespace {

class WorkServer final : public rpc::Work::Server {
 public:
  WorkServer(std::unique_ptr<Counted> ticket, std::shared_ptr<WorkUpload> upload)
      : ticket_(std::move(ticket)), upload_(std::move(upload)) {}

  ~WorkServer() noexcept(false) {
    // The end of unfinished work removes its blocks.
    services().workers.Submit([upload = std::move(upload_)]() mutable { upload.reset(); });
  }

  WorkServer(const WorkServer&) = delete;
  WorkServer& operator=(const WorkServer&) = delete;

 private:
  Services& services() const { return ticket_->session().services; }

  kj::Promise<void> commit(CommitContext context) override {
    const auto params = context.getParams();
    if (params.getAck() > static_cast<std::uint8_t>(Ack::kDurable)) {
      return RefuseCall(services(), context, OutOfRange("ack", params.getAck(), 0, 1));
    }
    const auto blocks = params.getBlocks();
    const std::size_t limit = upload_->work().keys.size();
    if (blocks.size() > limit) {
      return RefuseCall(services(), context, OutOfRange("blocks' length", blocks.size(), 0, limit));
    }
    WorkCommit commit;
    for (const auto block : blocks) commit.blocks.push_back({block.getIndex(), block.getOffset()});
    commit.ack = static_cast<Ack>(params.getAck());
    commit.finish = params.getFinish();
    commit.prepare_us = params.getPrepareUs();
    commit.loadings_version = params.getLoadingsVersion();
    commit.loadings_rank = params.getLoadingsRank();
    context.releaseParams();
    const bool finish = commit.finish;
    const std::uint64_t prepare_us = commit.prepare_us;
    return services()
        .workers
        .Run([upload = upload_, staging = ticket_->session().staging, commit = std::move(commit)] {
          return upload->Commit(commit, staging.get());
        })
        .then([this, context, finish, prepare_us](Result<std::uint32_t> stored) mutable {
          if (!stored) return RefuseCall(services(), context, stored.error());
          if (finish) {
            services().metrics.CountPrepared(upload_->work().variant.root.kind, prepare_us);
          }
          context.getResults().setStored(*stored);
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  const std::unique_ptr<Counted> ticket_;
  std::shared_ptr<WorkUpload> upload_;
};

}  // namespace

rpc::Work::Client MakeWorkCapability(std::unique_ptr<Counted> ticket,
                                     std::shared_ptr<WorkUpload> upload) {
  return kj::heap<WorkServer>(std::move(ticket), std::move(upload));
}

}  // namespace kvcommons
