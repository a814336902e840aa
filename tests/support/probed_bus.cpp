// The harness of the engine `verilator`, on a top with probes.
#include "Vetchnet.h"
#include "probes.h"

using ProbedTop = Probed<Vetchnet>;
#define Vetchnet ProbedTop
#include "harness.cpp"

extern "C" int64_t probe(const Machine* machine, int way, int64_t* cycles) { return machine->top->probe(way, cycles); }
