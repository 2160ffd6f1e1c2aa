#include "daemon/rpc_plan.h"

#include <algorithm>
#include <utility>

#include "daemon/commit.h"
#include "daemon/plan_maker.h"
#include "daemon/rpc_library.h"
#include "daemon/rpc_session.h"
#include "daemon/rpc_team.h"
#include "daemon/wire.h"

namespace kvcommons {
namespace {

class PlanServer final : public rpc::Plan::Server {
 public:
  PlanServer(std::unique_ptr<Counted> ticket, PreparedPlan plan)
      : ticket_(std::move(ticket)),
        lease_(std::make_shared<PlanLease>(services().store, services().documents, services().clock,
                                           std::move(plan))) {
    for (const PinnedBlock& pin : lease_->plan().pins) {
      ++ticket_->session().leased_slabs[pin.slab_id()];
    }
    services().metrics.CountLease(1);
  }

  ~PlanServer() noexcept(false) {
    auto& slabs = ticket_->session().leased_slabs;
    for (const PinnedBlock& pin : lease_->plan().pins) {
      const auto slab = slabs.find(pin.slab_id());
      if (--slab->second == 0) slabs.erase(slab);
    }
    services().metrics.CountLease(-1);
    // The end of a lease may remove private rows from the disk.
    services().workers.Submit([lease = std::move(lease_)]() mutable { lease.reset(); });
  }

  PlanServer(const PlanServer&) = delete;
  PlanServer& operator=(const PlanServer&) = delete;

  const PreparedPlan& plan() const { return lease_->plan(); }

 private:
  Services& services() const { return ticket_->session().services; }

  kj::Promise<void> check(CheckContext context) override {
    context.getResults().setHeld(true);
    return kj::READY_NOW;
  }

  // One at a time and in their order, however a client sends them.
  kj::Promise<void> commit(CommitContext context) override {
    auto next = kj::newPromiseAndFulfiller<void>();
    kj::Promise<void> turn = kj::mv(turn_);
    turn_ = kj::mv(next.promise);
    return turn.then([this, context]() mutable { return CommitNow(context); })
        .attach(kj::defer([done = kj::mv(next.fulfiller)]() mutable { done->fulfill(); }));
  }

  kj::Promise<void> CommitNow(CommitContext context) {
    const auto params = context.getParams();
    const std::uint8_t ack = params.getAck();
    const bool finish = params.getFinish();
    const auto pieces = params.getPieces();
    if (ack > static_cast<std::uint8_t>(Ack::kDurable)) {
      return Refuse(context, OutOfRange("ack", ack, 0, 1));
    }
    if (pieces.size() > plan().pieces.size()) {
      return Refuse(context, OutOfRange("pieces' length", pieces.size(), 0, plan().pieces.size()));
    }
    std::vector<StagedPiece> staged;
    staged.reserve(pieces.size());
    for (const auto piece : pieces) staged.push_back({piece.getBegin(), piece.getOffset()});
    context.releaseParams();
    const std::int64_t start_ns = services().clock.NowNs();
    return services()
        .workers
        .Run([lease = lease_, staging = ticket_->session().staging, staged = std::move(staged), ack,
              finish] {
          return lease->Commit(staged, staging.get(), static_cast<Ack>(ack), finish);
        })
        .then([this, context, start_ns](Result<CommitReport> report) mutable {
          if (!report) return Refuse(context, report.error());
          auto results = context.getResults();
          results.setStored(report->put.stored);
          results.setPresent(report->put.present);
          results.setDurable(report->put.durable);
          results.setRevision(report->revision);
          const double took_us = MicrosecondsSince(services().clock, start_ns);
          results.setTookUs(took_us);
          services().metrics.CountCommit(*report, report->bytes, took_us);
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  kj::Promise<void> Refuse(CommitContext& context, const Status& status) {
    return RefuseCall(services(), context, status);
  }

  const std::unique_ptr<Counted> ticket_;
  std::shared_ptr<PlanLease> lease_;
  kj::Promise<void> turn_ = kj::READY_NOW;
};

class ModelServer final : public rpc::Model::Server {
 public:
  ModelServer(std::unique_ptr<Counted> ticket, std::shared_ptr<const OpenedModel> model)
      : ticket_(std::move(ticket)), model_(std::move(model)) {}

 private:
  Services& services() const { return ticket_->session().services; }

  kj::Promise<void> plan(PlanContext context) override {
    const std::int64_t start_ns = services().clock.NowNs();
    auto request = ReadPlanRequest(context.getParams().getRequest(), model_->profile);
    if (!request) return Refuse(context, request.error());
    if (request->policy == Policy::kCompose) {
      return Refuse(context, InvalidArgument("policy is 3; composed plans are a library's"));
    }
    context.releaseParams();
    auto maker = std::make_shared<PlanMaker>(services().store, services().clock, model_,
                                             std::move(*request), &memo_);
    return AnswerPlan(context, ticket_->shared(), std::move(maker), start_ns,
                      [](const PreparedPlan&) {});
  }

  kj::Promise<void> lookup(LookupContext context) override {
    const std::uint32_t repeat = context.getParams().getRepeat();
    if (repeat < 1 || repeat > kMaxLookupRepeats) {
      return Refuse(context, OutOfRange("repeat", repeat, 1, kMaxLookupRepeats));
    }
    auto tokens = ReadTokens(context.getParams().getTokens(), model_->profile);
    if (!tokens) return Refuse(context, tokens.error());
    context.releaseParams();
    struct Answered {
      std::uint32_t exact_tokens = 0;
      double took_us = 0;
    };
    Services& shared = services();
    return shared.workers
        .Run([&shared, model = model_, tokens = std::move(*tokens), repeat] {
          std::vector<double> times_us;
          Answered answer;
          for (std::uint32_t i = 0; i < repeat; ++i) {
            const std::int64_t start_ns = shared.clock.NowNs();
            const auto keys = model->hasher.Chain(tokens, model->profile.block_tokens, false);
            const std::size_t found = shared.store.MatchPrefix(model->tenant.domain, keys);
            times_us.push_back(MicrosecondsSince(shared.clock, start_ns));
            answer.exact_tokens = static_cast<std::uint32_t>(found) * model->profile.block_tokens;
          }
          const auto middle = times_us.begin() + static_cast<std::ptrdiff_t>(times_us.size() / 2);
          std::nth_element(times_us.begin(), middle, times_us.end());
          answer.took_us = *middle;
          return answer;
        })
        .then([context](Answered answer) mutable {
          context.getResults().setExactTokens(answer.exact_tokens);
          context.getResults().setTookUs(answer.took_us);
        });
  }

  kj::Promise<void> removeDocument(RemoveDocumentContext context) override {
    const auto text = context.getParams().getName();
    if (text.size() < 1 || text.size() > DocumentRevision::kMaxNameBytes) {
      return Refuse(context,
                    OutOfRange("name's length", text.size(), 1, DocumentRevision::kMaxNameBytes));
    }
    const DocumentKey document = model_->hasher.KeyOfDocument({text.begin(), text.size()});
    Services& shared = services();
    return shared.workers
        .Run([&shared, document, domain = model_->tenant.domain] {
          MutexLock lock(shared.documents.Of(document));
          return shared.store.RemoveDocument(domain, document);
        })
        .then([this, context](Result<bool> removed) mutable {
          if (!removed) return Refuse(context, removed.error());
          context.getResults().setRemoved(*removed);
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  template <typename Context>
  kj::Promise<void> Refuse(Context& context, const Status& status) {
    return RefuseCall(services(), context, status);
  }

  kj::Promise<void> openLibrary(OpenLibraryContext context) override {
    return OpenLibrary(context, ticket_->shared(), model_);
  }

  kj::Promise<void> openTeam(OpenTeamContext context) override {
    return OpenTeam(context, ticket_->shared(), model_);
  }

  kj::Promise<void> reportQuality(ReportQualityContext context) override {
    const auto params = context.getParams();
    const auto rule = params.getRule();
    auto quality = services().quality.Report(
        {model_->tenant.domain, model_->fingerprint, {rule.begin(), rule.size()}}, params.getKl(),
        params.getTop1());
    if (!quality) return Refuse(context, quality.error());
    WriteQuality(*quality, context.getResults().initQuality());
    return kj::READY_NOW;
  }

  kj::Promise<void> quality(QualityContext context) override {
    const auto rule = context.getParams().getRule();
    auto quality = services().quality.Of(
        {model_->tenant.domain, model_->fingerprint, {rule.begin(), rule.size()}});
    if (!quality) return Refuse(context, quality.error());
    WriteQuality(*quality, context.getResults().initQuality());
    return kj::READY_NOW;
  }

  kj::Promise<void> resetQuality(ResetQualityContext context) override {
    const auto rule = context.getParams().getRule();
    const auto reset = services().quality.Reset(
        {model_->tenant.domain, model_->fingerprint, {rule.begin(), rule.size()}});
    if (!reset) return Refuse(context, reset.error());
    return kj::READY_NOW;
  }

  static void WriteQuality(const QualityGate::Answer& answer, rpc::Quality::Builder builder) {
    builder.setSamples(answer.samples);
    builder.setMeanKl(answer.mean_kl);
    builder.setMeanTop1(answer.mean_top1);
    builder.setEnabled(answer.enabled);
    builder.setReason(answer.reason.c_str());
  }

  const std::unique_ptr<Counted> ticket_;
  const std::shared_ptr<const OpenedModel> model_;
  ChainMemo memo_;  // of the event loop's thread
};

}  // namespace

rpc::Plan::Client MakePlanCapability(std::unique_ptr<Counted> ticket, PreparedPlan prepared,
                                     std::int64_t start_ns, rpc::PlanReply::Builder reply) {
  Services& services = ticket->session().services;
  auto server = kj::heap<PlanServer>(std::move(ticket), std::move(prepared));
  WritePlan(server->plan(), reply);
  const double took_us = MicrosecondsSince(services.clock, start_ns);
  reply.setTookUs(took_us);
  services.metrics.CountPlan(server->plan(), took_us);
  return kj::mv(server);
}

rpc::Model::Client MakeModelCapability(std::unique_ptr<Counted> ticket,
                                       std::shared_ptr<const OpenedModel> model) {
  return kj::heap<ModelServer>(std::move(ticket), std::move(model));
}

}  // namespace kvcommons
