#include "daemon/rpc_plan.h"

#include <algorithm>
#include <utility>

#include "daemon/commit.h"
#include "daemon/plan_maker.h"
#include "daemon/rpc_session.h"
#include "daemon/wire.h"

namespace kvcommons {
namespace {

double MicrosecondsSince(const Clock& clock, std::int64_t start_ns) {
  return static_cast<double>(clock.NowNs() - start_ns) / 1e3;
}

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
    services().metrics.CountError(status.code());
    WriteError(context.getResults().initError(), status);
    return kj::READY_NOW;
  }

  const std::unique_ptr<Counted> ticket_;
  std::shared_ptr<PlanLease> lease_;
  kj::Promise<void> turn_ = kj::READY_NOW;
};

class ModelServer final : public rpc::Model::Server {
 public:
  ModelServer(std::shared_ptr<SessionState> session, std::shared_ptr<const OpenedModel> model)
      : ticket_(std::move(session), &SessionState::models), model_(std::move(model)) {}

 private:
  Services& services() const { return ticket_.session().services; }

  kj::Promise<void> plan(PlanContext context) override {
    const std::int64_t start_ns = services().clock.NowNs();
    const SessionState& session = ticket_.session();
    if (session.leases >= services().config.max_leases) {
      return Refuse(context, Exhausted("the session holds " + std::to_string(session.leases) +
                                       " plans; the limit is " +
                                       std::to_string(services().config.max_leases)));
    }
    auto request = ReadPlanRequest(context.getParams().getRequest(), model_->profile);
    if (!request) return Refuse(context, request.error());
    context.releaseParams();
    auto ticket = std::make_unique<Counted>(ticket_.shared(), &SessionState::leases);
    auto maker = std::make_shared<PlanMaker>(services().store, model_, std::move(*request), &memo_);
    const Result<bool> made = maker->Make(false);
    if (!made) return Refuse(context, made.error());
    if (*made) {
      Answer(context, *maker, std::move(ticket), start_ns);
      return kj::READY_NOW;
    }
    return services()
        .workers.Run([maker] { return maker->Make(true); })
        .then([this, context, maker, start_ns,
               ticket = std::move(ticket)](Result<bool> done) mutable {
          if (!done) return Refuse(context, done.error());
          Answer(context, *maker, std::move(ticket), start_ns);
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  void Answer(PlanContext& context, PlanMaker& maker, std::unique_ptr<Counted> ticket,
              std::int64_t start_ns) {
    auto server = kj::heap<PlanServer>(std::move(ticket), maker.Take());
    const PreparedPlan& plan = server->plan();
    auto results = context.getResults();
    auto reply = results.initReply();
    WritePlan(plan, reply);
    const double took_us = MicrosecondsSince(services().clock, start_ns);
    reply.setTookUs(took_us);
    services().metrics.CountPlan(plan, took_us);
    results.setPlan(kj::mv(server));
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
    services().metrics.CountError(status.code());
    WriteError(context.getResults().initError(), status);
    return kj::READY_NOW;
  }

  const Counted ticket_;
  const std::shared_ptr<const OpenedModel> model_;
  ChainMemo memo_;  // of the event loop's thread
};

}  // namespace

rpc::Model::Client MakeModelCapability(std::shared_ptr<SessionState> session,
                                       std::shared_ptr<const OpenedModel> model) {
  return kj::heap<ModelServer>(std::move(session), std::move(model));
}

}  // namespace kvcommons
