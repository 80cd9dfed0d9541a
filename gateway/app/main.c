/* The program `sluice`. Everything that runs for long is in app.h; each command has a file of its
 * own. */
#include "gateway/app/program.h"

int main(int argc, char **argv) {
    return program_run(argc, argv);
}
