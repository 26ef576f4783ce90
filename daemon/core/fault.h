/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CORE_FAULT_H
#define REDMUTEXD_CORE_FAULT_H
/*
 * Deliberate mistakes, so that the simulation can prove that it would notice them. They exist only
 * in the copy of the core that is compiled with CORE_FAULTS for the tests; elsewhere
 * CORE_FAULT(name) is the constant false.
 */
#include <stdbool.h>

#ifdef CORE_FAULTS

enum core_fault {
	CORE_FAULT_none,
#define FAULT(name, text) CORE_FAULT_##name,
#include "core/faults.def"
#undef FAULT
	N_CORE_FAULTS
};

/* The one that is switched on. Defined, and set, by the program that has the copy. */
extern enum core_fault core_fault_on;

#define CORE_FAULT(name) (core_fault_on == CORE_FAULT_##name)

#else

#define CORE_FAULT(name) false

#endif
#endif
