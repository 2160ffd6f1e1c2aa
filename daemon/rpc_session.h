// What a client sees of the daemon: Daemon, Session, Model, Plan and Memory of
// schema/kvcommons.capnp.
//
// Nothing here decides anything: messages are checked (wire.h), work is done by PlanMaker,
// PlanLease and the Store, on a worker where it may block. Capabilities are the access control, so
// each object holds what its tenant may touch and nothing else (I7); when a client drops one or
// dies, its destructor releases all of it (I10). Thread safety: all of it belongs to the event
// loop's thread.

#pragma once

#include <capnp/capability.h>

#include "daemon/services.h"
#include "daemon/tenant.h"
#include "schema/kvcommons.capnp.h"

namespace kvcommons {

inline constexpr std::uint64_t kMaxSessionsPerConnection = 16;
inline constexpr std::uint64_t kMaxModelsPerSession = 64;
inline constexpr std::uint64_t kMaxMemoriesPerSession = 1024;
inline constexpr std::uint64_t kMaxLibrariesPerSession = 64;
inline constexpr std::uint64_t kMaxWorksPerSession = 64;
inline constexpr std::uint64_t kMaxTeamsPerSession = 64;
inline constexpr std::uint64_t kMaxTeamUploadsPerSession = 64;
inline constexpr std::uint32_t kMaxListed = 10000;
inline constexpr std::uint32_t kMaxLookupRepeats = 1000;

// The bootstrap capability of one connection. `services` outlives it.
rpc::Daemon::Client MakeDaemonCapability(Services& services, const Tenant& tenant);

}  // namespace kvcommons
