// Work in pieces on the threads that torch has already: `parallel(n, grain, threads, work)`.
#pragma once

#include <cstddef>
#include <functional>

namespace commonweight {

// What runs fn(data) once on each of so many threads, and returns when all have: GOMP_parallel of the OpenMP library
// that torch has loaded. With threads of our own, two pools would fight for the same cores. Null: one thread.
using Team = void (*)(void (*fn)(void*), void* data, unsigned threads, unsigned flags);

void use_team(Team team);

// Runs work(first, last) over pieces of `grain` of 0 .. n. Throws what the first piece that failed threw.
void parallel(std::ptrdiff_t n, std::ptrdiff_t grain, int threads,
              const std::function<void(std::ptrdiff_t, std::ptrdiff_t)>& work);

}  // namespace commonweight
