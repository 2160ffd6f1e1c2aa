// `kvcommons verify` and `kvcommons flush`.

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/bytes.h"
#include "client/command/commands.h"
#include "client/command/stats.h"
#include "client/command/table.h"

namespace kvcommons {
namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;

double SecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

// Says every second that a long call still runs, when a person watches.
class Ticker {
 public:
  Ticker(std::ostream& err, std::string what) {
    if (isatty(STDERR_FILENO) == 0) return;
    thread_ = std::thread([this, &err, what = std::move(what)] {
      const SteadyClock::time_point start = SteadyClock::now();
      std::unique_lock lock(mutex_);
      while (!done_.wait_for(lock, std::chrono::seconds(1), [this] { return is_done_; })) {
        err << '\r' << what << ", " << FormatNumber(SecondsSince(start), 0) << " s" << std::flush;
      }
      err << "\r\033[K" << std::flush;
    });
  }
  ~Ticker() {
    if (!thread_.joinable()) return;
    {
      std::lock_guard lock(mutex_);
      is_done_ = true;
    }
    done_.notify_all();
    thread_.join();
  }
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  bool is_done_ = false;
  std::thread thread_;
};

}  // namespace

int RunVerify(const CommandContext& context, Client& client) {
  const SteadyClock::time_point start = SteadyClock::now();
  Result<Client::VerifyReport> report;
  {
    const Ticker ticker(context.err, "Reading every block of " + Printable(client.info().tenant));
    report = client.Verify();
  }
  if (!report) return ReportFailure(context, report.error());
  const double seconds = SecondsSince(start);
  if (context.arguments.is_json) {
    const json result = {{"checked", report->checked},
                         {"bad", report->bad},
                         {"bytes", report->bytes},
                         {"seconds", seconds}};
    context.out << JsonText(result) << '\n';
  } else {
    context.out << "Checked " << report->checked << " blocks, " << FormatBytes(report->bytes)
                << ", in " << FormatNumber(seconds, 1) << " s: "
                << (report->bad == 0 ? "all good"
                                     : std::to_string(report->bad) + " bad, now dropped")
                << ".\n";
  }
  if (report->bad == 0) return kExitOk;
  context.err
      << "kvcommons: " << report->bad
      << " bad blocks were dropped and will be computed again; look at the daemon's log and "
         "at the health of its disk and memory\n";
  return kExitFailure;
}

int RunFlush(const CommandContext& context, Client& client) {
  const SteadyClock::time_point start = SteadyClock::now();
  Status status;
  {
    const Ticker ticker(context.err, "Writing what is only held");
    status = client.Flush();
  }
  if (!status.ok()) return ReportFailure(context, status);
  const double seconds = SecondsSince(start);
  if (context.arguments.is_json) {
    const json result = {{"flushed", true}, {"seconds", seconds}};
    context.out << JsonText(result) << '\n';
  } else {
    context.out << "Everything held is durable (" << FormatNumber(seconds, 1) << " s).\n";
  }
  return kExitOk;
}

}  // namespace kvcommons
