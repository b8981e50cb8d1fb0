// Each thread has a share of neighbouring pieces, whose memory is read in a row, and which it had in its caches before.
// It takes them one by one, then those that others have left: a thread that is held up costs little.
#include "threads.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>

namespace commonweight {
namespace {

using Work = std::function<void(std::ptrdiff_t, std::ptrdiff_t)>;

struct alignas(64) Share {
  std::atomic<std::ptrdiff_t> next{0};
  std::ptrdiff_t end = 0;
};

struct Pieces {
  const Work& work;
  const std::ptrdiff_t grain;
  const int threads;
  const std::unique_ptr<Share[]> shares{new Share[static_cast<std::size_t>(threads)]};
  std::atomic<int> arrived{0};
  std::once_flag failed{};
  std::exception_ptr failure{};  // the first: no exception may leave a thread of the team
};

void take(void* data) {
  Pieces& pieces = *static_cast<Pieces*>(data);
  const int own = pieces.arrived.fetch_add(1, std::memory_order_relaxed);
  for (int other = 0; other < pieces.threads; ++other) {
    Share& share = pieces.shares[(own + other) % pieces.threads];
    while (true) {
      const std::ptrdiff_t first = share.next.fetch_add(pieces.grain, std::memory_order_relaxed);
      if (first >= share.end) break;
      try {
        pieces.work(first, std::min(share.end, first + pieces.grain));
      } catch (...) {
        std::call_once(pieces.failed, [&] { pieces.failure = std::current_exception(); });
        return;
      }
    }
  }
}

Team the_team = nullptr;

}  // namespace

void use_team(Team team) { the_team = team; }

void parallel(std::ptrdiff_t n, std::ptrdiff_t grain, int threads, const Work& work) {
  if (!the_team || n <= grain) threads = 1;
  Pieces pieces{work, grain, threads};
  const std::ptrdiff_t count = (n + grain - 1) / grain;
  for (int t = 0; t < threads; ++t) {
    pieces.shares[t].next = count * t / threads * grain;
    pieces.shares[t].end = std::min(n, count * (t + 1) / threads * grain);
  }
  if (threads > 1)
    the_team(take, &pieces, static_cast<unsigned>(threads), 0);
  else
    take(&pieces);
  if (pieces.failure) std::rethrow_exception(pieces.failure);
}

}  // namespace commonweight
