// Pieces are handed out one after the other, so that a thread that is held up costs little.
#include "threads.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

namespace commonweight {
namespace {

using Work = std::function<void(std::ptrdiff_t, std::ptrdiff_t)>;

struct Pieces {
  const Work& work;
  const std::ptrdiff_t n, grain;
  std::atomic<std::ptrdiff_t> next{0};
  std::once_flag failed{};
  std::exception_ptr failure{};  // the first: no exception may leave a thread of the team
};

void take(void* data) {
  Pieces& pieces = *static_cast<Pieces*>(data);
  while (true) {
    const std::ptrdiff_t first = pieces.next.fetch_add(pieces.grain, std::memory_order_relaxed);
    if (first >= pieces.n) return;
    try {
      pieces.work(first, std::min(pieces.n, first + pieces.grain));
    } catch (...) {
      std::call_once(pieces.failed, [&] { pieces.failure = std::current_exception(); });
      return;
    }
  }
}

Team the_team = nullptr;

}  // namespace

void use_team(Team team) { the_team = team; }

void parallel(std::ptrdiff_t n, std::ptrdiff_t grain, int threads, const Work& work) {
  Pieces pieces{work, n, grain};
  if (the_team && threads > 1 && n > grain)
    the_team(take, &pieces, static_cast<unsigned>(threads), 0);
  else
    take(&pieces);
  if (pieces.failure) std::rethrow_exception(pieces.failure);
}

}  // namespace commonweight
