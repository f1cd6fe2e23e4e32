/*
 * Endpoints that the kernel uses again by itself, as `ipc.admission_layout` describes them under LINE_FIELDS: who carries the last packet
 * of a session puts its endpoint behind the others of its real server, and who opens a session takes the first.
 */
#pragma once
#include "session.h"

#define MOST_TRIES 8
#define NO_ENDPOINT (~0ull)
#define NEXT_ENDPOINT (~0ull - 1)
#define MOST_GONE 16 /* endpoints that a shard has taken out, passed over in one look at a line */

/* Whether a shard has let programs in; each calls `leave` afterwards. The result of the count is used, so memory is in order. */
static __always_inline __u32 enter(struct ring *ring)
{
	__u32 busy = __sync_fetch_and_add(&ring->busy, 1);

	asm volatile("" : : "r"(busy));
	return *(volatile __u32 *)&ring->is_open;
}

static __always_inline void leave(struct ring *ring)
{
	__u32 busy = __sync_fetch_and_add(&ring->busy, -1);

	asm volatile("" : : "r"(busy));
}

/* Whether both sides have acknowledged all that the other one has sent, FIN and all: `state.lane_entry`, `is_closed`. */
static __always_inline __u32 is_done(struct session_record *record)
{
	struct side *client = side_of(record, INBOUND), *server = side_of(record, OUTBOUND);

	return (__u32)client->next_seq + record->inbound_seq_delta == (__u32)server->acked &&
	       (__u32)server->next_seq + record->outbound_seq_delta == (__u32)client->acked;
}

/* Puts an endpoint into one of the lines of its pool that has room; whether there was one. */
static __always_inline __u32 put_in_line(struct home *home, __u32 pool, __u32 entry)
{
	__u32 first = bpf_get_prandom_u32();

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < LINES_OF_POOL; i++) {
		__u32 number = (first + i) % LINES_OF_POOL, key = (pool - 1) * LINES_OF_POOL + number;
		struct line *line = bpf_map_lookup_elem(&lines, &key);
		__u64 at;

		if (!line || *(volatile __u64 *)&line->tail - *(volatile __u64 *)&line->head >= LINE_PLACES)
			continue;
		at = __sync_fetch_and_add(&line->tail, 1);
		*(volatile __u32 *)&home->place = number * LINE_PLACES + at % LINE_PLACES;
		((volatile __u64 *)line->places)[at % LINE_PLACES] = at << 32 | entry;
		return 1;
	}
	return 0;
}

/* The session of an entry is over. From now on its packets go up, and whoever wins its record puts its endpoint in line. */
static __noinline int get_in_line(struct session_record *record, __u32 entry)
{
	struct home *home = bpf_map_lookup_elem(&homes, &entry);
	struct ring *ring;
	__u32 number, pool;

	if (!home || !home->pool)
		return 0;
	number = home->ring;
	ring = bpf_map_lookup_elem(&rings, &number);
	if (!ring)
		return 0;
	if (enter(ring)) {
		pool = *(volatile __u16 *)&home->pool;
		if (pool && !__sync_val_compare_and_swap(&record->held, 0, 1) && !put_in_line(home, pool, entry))
			*(volatile __u32 *)&record->held = 0;
	}
	leave(ring);
	return 0;
}

/*
 * The entry of the first endpoint of a line, when it has rested long enough; NO_ENDPOINT when there is none. With `takes` it is taken
 * out, and NEXT_ENDPOINT says that somebody else was faster. This function is not static, so that the verifier takes it by itself: with
 * the ways through it on all ways that lead here, the program is too large for it.
 */
__noinline __u64 rested_in_line(__u32 number, __u32 takes)
{
	struct line *line = bpf_map_lookup_elem(&lines, &number);
	struct session_record *record;
	__u64 head, place = GONE;
	__u32 entry;

	if (!line)
		return NO_ENDPOINT;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < MOST_GONE; i++) {
		head = *(volatile __u64 *)&line->head;
		if (*(volatile __u64 *)&line->tail - head - 1 >= LINE_PLACES)
			return NO_ENDPOINT;
		place = ((volatile __u64 *)line->places)[head % LINE_PLACES];
		if (place >> 32 != (__u32)head) /* it is just being written */
			return NO_ENDPOINT;
		if ((__u32)place != GONE)
			break;
		__sync_val_compare_and_swap(&line->head, head, head + 1);
	}
	entry = place;
	record = bpf_map_lookup_elem(&sessions, &entry);
	if (!record || !*(volatile __u32 *)&record->held || record->last_seen_ns + REST_NS > bpf_ktime_get_ns())
		return NO_ENDPOINT;
	if (takes && __sync_val_compare_and_swap(&line->head, head, head + 1) != head)
		return NEXT_ENDPOINT;
	return entry;
}

/* The same for a pool, whose lines are tried from that on which the step says. */
static __always_inline __u64 rested_endpoint(__u32 pool, __u32 step, __u32 takes)
{
	__u32 first = step >> STEP_BITS;
	__u64 found;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < LINES_OF_POOL; i++) {
		found = rested_in_line(pool * LINES_OF_POOL + (first + i) % LINES_OF_POOL, takes);
		if (found != NO_ENDPOINT)
			return found;
	}
	return NO_ENDPOINT;
}

/* Takes such an endpoint of a pool, and tells its entry. Who else takes one at the same time gets another one. */
static __always_inline __u64 take_rested_endpoint(__u32 pool, __u32 step)
{
	__u64 found = NO_ENDPOINT;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < MOST_TRIES; i++) {
		found = rested_endpoint(pool, step, 1);
		if (found != NEXT_ENDPOINT)
			return found;
	}
	return NO_ENDPOINT;
}
