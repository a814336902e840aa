// The board of `uart_board.cpp`, on a top with probes.
#include "Vboard.h"
#include "probes.h"

using ProbedTop = Probed<Vboard>;
#define Vboard ProbedTop
#include "uart_board.cpp"

extern "C" int64_t probe(const Board* board, int way, int64_t* cycles) { return board->top->probe(way, cycles); }
