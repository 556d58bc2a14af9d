/*
 * fuzz.h
 *		What the fuzzers share.  Each is built for libFuzzer, or with driver.c.
 */
#ifndef TRADEKEEP_FUZZ_H
#define TRADEKEEP_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define ENSURE(condition) \
	((condition) ? (void) 0 : (fprintf(stderr, "not so: %s\n", #condition), abort()))

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif							/* TRADEKEEP_FUZZ_H */
