#pragma once

#include <optional>
#include <string>

namespace talpa::collective {

/// This process among those of a job, and where they meet.
struct Rendezvous {
  int rank = 0;
  int size = 1;
  int local_size = 1;  ///< processes of the job on this host, as far as the launcher says
  std::string address = "127.0.0.1";
  int port = 29500;
};

/// What a launcher left in the environment: RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and
/// MASTER_PORT as torchrun and `talpa launch` set them; rank and size also as Open MPI
/// (OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_SIZE) and Slurm (SLURM_PROCID, SLURM_NTASKS) do. nullopt
/// without a rank, or for a job of one. Throws kConfig naming a variable that is malformed or
/// missing: more than one process needs MASTER_ADDR unless all run on this host.
std::optional<Rendezvous> rendezvous_from_environment();

}  // namespace talpa::collective
