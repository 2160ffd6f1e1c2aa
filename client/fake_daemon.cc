#include "client/fake_daemon.h"

#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "base/assert.h"

namespace kvcommons {

struct FakeDaemon::State {
  Script script;
  std::string path;
  int listen_fd = -1;
  kj::Own<kj::PromiseFulfiller<void>> die;  // of the daemon's own thread

  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  kj::Own<kj::CrossThreadPromiseFulfiller<void>> stop;  // set before the constructor returns
  std::vector<SeenCommit> commits;
  std::vector<std::string> resets;
  int slab_requests = 0;
  int staging_requests = 0;
  int live_plans = 0;

  std::thread thread;

  void Run();
};

namespace {

using State = FakeDaemon::State;

void FillError(const Status& status, rpc::Error::Builder error) {
  error.setCode(static_cast<std::uint8_t>(status.code()));
  error.setMessage(status.message());
}

class MemoryServer final : public rpc::Memory::Server {
 public:
  MemoryServer(std::uint64_t bytes, bool passes) : passes_(passes), bytes_(bytes) {
    fd_ = memfd_create("fake", MFD_CLOEXEC);
    KVC_ASSERT(fd_ >= 0 && ftruncate(fd_, static_cast<off_t>(bytes)) == 0);
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    KVC_ASSERT(data != MAP_FAILED);
    data_ = static_cast<std::byte*>(data);
  }
  ~MemoryServer() noexcept {
    munmap(data_, bytes_);
    close(fd_);
  }
  kj::Maybe<int> getFd() override {
    if (!passes_) return nullptr;
    return fd_;
  }
  std::byte* data() { return data_; }

 private:
  const bool passes_;
  const std::uint64_t bytes_;
  int fd_ = -1;
  std::byte* data_ = nullptr;
};

struct Staging {
  const std::byte* data = nullptr;
  kj::Maybe<rpc::Memory::Client> memory;
};

class PlanServer final : public rpc::Plan::Server {
 public:
  PlanServer(State& state, std::shared_ptr<Staging> staging)
      : state_(state), staging_(std::move(staging)) {
    std::lock_guard lock(state_.mutex);
    ++state_.live_plans;
  }
  ~PlanServer() noexcept {
    std::lock_guard lock(state_.mutex);
    --state_.live_plans;
    state_.changed.notify_all();
  }

  kj::Promise<void> check(CheckContext context) override {
    context.getResults().setHeld(state_.script.held);
    return kj::READY_NOW;
  }

  kj::Promise<void> commit(CommitContext context) override {
    const auto params = context.getParams();
    FakeDaemon::SeenCommit seen{{}, params.getAck(), params.getFinish()};
    for (const auto piece : params.getPieces()) {
      seen.pieces.push_back(
          {piece.getBegin(), piece.getOffset(), staging_->data[piece.getOffset()]});
    }
    auto results = context.getResults();
    results.setStored(static_cast<std::uint32_t>(seen.pieces.size()));
    results.setTookUs(10);
    if (seen.finish) results.setRevision(7);
    {
      std::lock_guard lock(state_.mutex);
      state_.commits.push_back(std::move(seen));
    }
    if (state_.script.hangs_on_commit) return kj::NEVER_DONE;
    if (!state_.script.commit.ok()) FillError(state_.script.commit, results.initError());
    return kj::READY_NOW;
  }

 private:
  State& state_;
  std::shared_ptr<Staging> staging_;
};

void FillLibraryDocument(rpc::LibraryDocument::Builder document) {
  document.setName("paper.txt");
  document.initContentKey().setLow(1);
  document.setTokenCount(20);
  document.setCreatedUs(1'700'000'000'000'000);
  auto variants = document.initVariants(1);
  variants[0].setKind(static_cast<std::uint8_t>(RootKind::kMean));
  variants[0].initRoot().setLow(2);
  variants[0].setPrefaces(8);
  variants[0].setPrepareUs(1'500'000);
  variants[0].setReady(true);
}

// Records what is committed, as a plan's pieces.
class WorkServer final : public rpc::Work::Server {
 public:
  WorkServer(State& state, std::shared_ptr<Staging> staging)
      : state_(state), staging_(std::move(staging)) {}

  kj::Promise<void> commit(CommitContext context) override {
    const auto params = context.getParams();
    if (!state_.script.commit.ok()) {
      FillError(state_.script.commit, context.getResults().initError());
      return kj::READY_NOW;
    }
    FakeDaemon::SeenCommit seen;
    for (const auto block : params.getBlocks()) {
      seen.pieces.push_back(
          {block.getIndex(), block.getOffset(), staging_->data[block.getOffset()]});
    }
    seen.ack = params.getAck();
    seen.finish = params.getFinish();
    context.getResults().setStored(params.getBlocks().size());
    std::lock_guard lock(state_.mutex);
    state_.commits.push_back(std::move(seen));
    return kj::READY_NOW;
  }

 private:
  State& state_;
  std::shared_ptr<Staging> staging_;
};

class LibraryServer final : public rpc::Library::Server {
 public:
  LibraryServer(State& state, std::shared_ptr<Staging> staging)
      : state_(state), staging_(std::move(staging)) {}

  kj::Promise<void> put(PutContext context) override {
    FillLibraryDocument(context.getResults().initDocument());
    context.getResults().setIsNew(true);
    return kj::READY_NOW;
  }
  // 20 tokens: a full block and a short one.
  kj::Promise<void> nextWork(NextWorkContext context) override {
    auto results = context.getResults();
    auto work = results.initDescription();
    work.setName("paper.txt");
    work.setKind(static_cast<std::uint8_t>(RootKind::kMean));
    work.initTokens(20);
    work.initPrefaces(2).init(1, 3);
    results.setWork(kj::heap<WorkServer>(state_, staging_));
    return kj::READY_NOW;
  }
  kj::Promise<void> plan(PlanContext context) override {
    auto results = context.getResults();
    state_.script.plan(context.getParams().getRequest(), results.initReply());
    results.setPlan(kj::heap<PlanServer>(state_, staging_));
    return kj::READY_NOW;
  }

 private:
  State& state_;
  std::shared_ptr<Staging> staging_;
};

class ModelServer final : public rpc::Model::Server {
 public:
  ModelServer(State& state, std::shared_ptr<Staging> staging)
      : state_(state), staging_(std::move(staging)) {}

  kj::Promise<void> plan(PlanContext context) override {
    auto results = context.getResults();
    state_.script.plan(context.getParams().getRequest(), results.initReply());
    results.setPlan(kj::heap<PlanServer>(state_, staging_));
    return kj::READY_NOW;
  }
  kj::Promise<void> lookup(LookupContext context) override {
    context.getResults().setExactTokens(context.getParams().getTokens().size());
    return kj::READY_NOW;
  }
  kj::Promise<void> openLibrary(OpenLibraryContext context) override {
    context.getResults().setLibrary(kj::heap<LibraryServer>(state_, staging_));
    return kj::READY_NOW;
  }
  kj::Promise<void> reportQuality(ReportQualityContext context) override {
    auto quality = context.getResults().initQuality();
    quality.setSamples(1);
    quality.setMeanKl(context.getParams().getKl());
    quality.setMeanTop1(context.getParams().getTop1());
    quality.setEnabled(false);
    quality.setReason("told so");
    return kj::READY_NOW;
  }
  kj::Promise<void> removeDocument(RemoveDocumentContext context) override {
    context.getResults().setRemoved(context.getParams().getName() == "there");
    return kj::READY_NOW;
  }

 private:
  State& state_;
  std::shared_ptr<Staging> staging_;
};

class SessionServer final : public rpc::Session::Server {
 public:
  explicit SessionServer(State& state) : state_(state) {}

  kj::Promise<void> openModel(OpenModelContext context) override {
    auto results = context.getResults();
    std::uint64_t halves[2];
    std::memcpy(halves, state_.script.fingerprint.bytes.data(), sizeof halves);
    results.initFingerprint().setLow(halves[0]);
    results.getFingerprint().setHigh(halves[1]);
    results.setModel(kj::heap<ModelServer>(state_, staging_));
    return kj::READY_NOW;
  }
  kj::Promise<void> slab(SlabContext context) override {
    const std::uint32_t id = context.getParams().getSlabId();
    const std::uint64_t bytes = state_.script.slab_bytes;
    auto memory = kj::heap<MemoryServer>(bytes, state_.script.passes_descriptors);
    for (std::uint64_t i = 0; i < bytes; ++i) memory->data()[i] = FakeDaemon::PatternAt(id, i);
    auto results = context.getResults();
    results.setMemory(kj::mv(memory));
    const std::uint64_t told = state_.script.slab_told_bytes;
    results.setBytes(told != 0 ? told : bytes);
    std::lock_guard lock(state_.mutex);
    ++state_.slab_requests;
    return kj::READY_NOW;
  }
  kj::Promise<void> staging(StagingContext context) override {
    const std::uint64_t bytes = state_.script.staging_bytes;
    auto memory = kj::heap<MemoryServer>(bytes, state_.script.passes_descriptors);
    staging_->data = memory->data();
    rpc::Memory::Client client = kj::mv(memory);
    staging_->memory = client;
    auto results = context.getResults();
    results.setMemory(kj::mv(client));
    results.setBytes(bytes);
    std::lock_guard lock(state_.mutex);
    ++state_.staging_requests;
    return kj::READY_NOW;
  }
  kj::Promise<void> ping(PingContext) override {
    if (state_.script.throws_on_ping) KJ_FAIL_REQUIRE("broken on purpose");
    if (state_.script.dies_on_ping) state_.die->fulfill();
    if (state_.script.hangs_on_ping || state_.script.dies_on_ping) return kj::NEVER_DONE;
    return kj::READY_NOW;
  }
  kj::Promise<void> stats(StatsContext context) override {
    context.getResults().setJson(state_.script.stats_json);
    return kj::READY_NOW;
  }
  kj::Promise<void> list(ListContext context) override {
    auto blocks = context.getResults().initBlocks(1);
    blocks[0].setKey("00112233445566778899aabbccddeeff");
    blocks[0].setStorageClass(0);
    blocks[0].setTokens(64);
    blocks[0].setBytes(1474560);
    blocks[0].setInMemory(true);
    blocks[0].setCreatedUs(1'700'000'000'000'000);
    auto documents = context.getResults().initDocuments(1);
    documents[0].setKey("ffeeddccbbaa99887766554433221100");
    documents[0].setName("notes.txt");
    documents[0].setRevision(3);
    documents[0].setTokens(200);
    documents[0].setCreatedUs(1'700'000'000'000'000);
    return kj::READY_NOW;
  }
  kj::Promise<void> listLibrary(ListLibraryContext context) override {
    auto documents = context.getResults().initDocuments(1);
    documents[0].setKey("0123456789abcdef0123456789abcdef");
    FillLibraryDocument(documents[0].initDocument());
    return kj::READY_NOW;
  }
  kj::Promise<void> resetQuality(ResetQualityContext context) override {
    const auto params = context.getParams();
    std::lock_guard lock(state_.mutex);
    state_.resets.push_back(std::string(params.getFingerprint().cStr()) + " " +
                            params.getRule().cStr());
    context.getResults().setWasKnown(true);
    return kj::READY_NOW;
  }

  kj::Promise<void> remove(RemoveContext context) override {
    const auto key = context.getParams().getKey();
    context.getResults().setRemoved(key == "00112233445566778899aabbccddeeff" ||
                                    key == "0123456789abcdef0123456789abcdef" ||
                                    key == "ffeeddccbbaa99887766554433221100");
    return kj::READY_NOW;
  }
  kj::Promise<void> flush(FlushContext context) override {
    if (!state_.script.durable) {
      FillError(Unavailable("no disk tier"), context.getResults().initError());
    }
    return kj::READY_NOW;
  }
  kj::Promise<void> verify(VerifyContext context) override {
    context.getResults().setChecked(5);
    context.getResults().setBad(state_.script.verify_bad);
    context.getResults().setBytes(5 * 1474560);
    return kj::READY_NOW;
  }

 private:
  State& state_;
  std::shared_ptr<Staging> staging_ = std::make_shared<Staging>();
};

class DaemonServer final : public rpc::Daemon::Server {
 public:
  explicit DaemonServer(State& state) : state_(state) {}

  kj::Promise<void> login(LoginContext context) override {
    auto results = context.getResults();
    if (state_.script.raw_error_code != 0) {
      results.initError().setCode(state_.script.raw_error_code);
      results.getError().setMessage("from the future");
      return kj::READY_NOW;
    }
    if (!state_.script.login.ok()) {
      FillError(state_.script.login, results.initError());
      return kj::READY_NOW;
    }
    auto info = results.initInfo();
    info.setProtocolVersion(context.getParams().getProtocolVersion());
    info.setVersion("0.0-fake");
    info.initBootId().setLow(0x0706050403020100);
    info.getBootId().setHigh(0x0f0e0d0c0b0a0908);
    info.setTenant("uid:1000");
    info.setQuotaBytes(1ull << 30);
    info.setStartedUs(1'700'000'000'000'000);
    info.setDurable(state_.script.durable);
    results.setSession(kj::heap<SessionServer>(state_));
    return kj::READY_NOW;
  }

 private:
  State& state_;
};

}  // namespace

void FakeDaemon::State::Run() {
  auto io = kj::setupAsyncIo();
  auto stopped = kj::newPromiseAndCrossThreadFulfiller<void>();
  auto died = kj::newPromiseAndFulfiller<void>();
  die = kj::mv(died.fulfiller);
  {
    std::lock_guard lock(mutex);
    stop = kj::mv(stopped.fulfiller);
    changed.notify_all();
  }
  auto listener = io.lowLevelProvider->wrapListenSocketFd(
      listen_fd, kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP);
  capnp::TwoPartyServer server(kj::heap<DaemonServer>(*this));
  server.listenCapStreamReceiver(*listener, 2)
      .exclusiveJoin(kj::mv(stopped.promise))
      .exclusiveJoin(kj::mv(died.promise))
      .wait(io.waitScope);
}

FakeDaemon::FakeDaemon(std::string socket_path, Script script) : state_(std::make_unique<State>()) {
  state_->script = std::move(script);
  state_->path = std::move(socket_path);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  KVC_ASSERT(state_->path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, state_->path.data(), state_->path.size());
  state_->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  KVC_ASSERT(bind(state_->listen_fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
             0);
  KVC_ASSERT(listen(state_->listen_fd, 8) == 0);
  state_->thread = std::thread([state = state_.get()] { state->Run(); });
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [this] { return state_->stop.get() != nullptr; });
}

FakeDaemon::~FakeDaemon() {
  state_->stop->fulfill();
  state_->thread.join();
  unlink(state_->path.c_str());
}

std::vector<FakeDaemon::SeenCommit> FakeDaemon::Commits() const {
  std::lock_guard lock(state_->mutex);
  return state_->commits;
}
std::vector<std::string> FakeDaemon::Resets() const {
  std::lock_guard lock(state_->mutex);
  return state_->resets;
}
int FakeDaemon::SlabRequests() const {
  std::lock_guard lock(state_->mutex);
  return state_->slab_requests;
}
int FakeDaemon::StagingRequests() const {
  std::lock_guard lock(state_->mutex);
  return state_->staging_requests;
}
int FakeDaemon::LivePlans() const {
  std::lock_guard lock(state_->mutex);
  return state_->live_plans;
}
bool FakeDaemon::WaitForNoPlans() const {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, std::chrono::seconds(10),
                                  [this] { return state_->live_plans == 0; });
}

}  // namespace kvcommons
