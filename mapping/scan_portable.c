/* The scanner where there is no better kernel. */
#include "mapping/scan_loop.h"

static int scan_portable(Scanner *scanner, const PathSet *set, Span text, ScanFault *ret_fault) {
    return scan_with(scanner, set, text, ret_fault, text_skip_plain);
}

const ScanKernel *scan_kernels(size_t *ret_count) {
    static const ScanKernel kernels[] = {{"portable", scan_portable}};
    *ret_count = sizeof kernels / sizeof *kernels;
    return kernels;
}
