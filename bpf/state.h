/* The state of a session and its flags: one word, which two CPUs may want to change at the same time. */
#pragma once
#include "progress.h"

union state_word {
	__u32 word;
	struct {
		__u8 state;
		__u8 flags;
		__u8 reserved[2];
	};
};

_Static_assert(__builtin_offsetof(struct session_record, flags) == __builtin_offsetof(struct session_record, state) + 1 &&
		       __builtin_offsetof(struct session_record, state) % 4 == 0, "state and flags are one word");

static __always_inline __u32 *word_of(struct session_record *record)
{
	return (__u32 *)&record->state;
}

static __always_inline __u32 is_closing(__u32 state)
{
	return state == TCP_STATE_CLOSE || state == TCP_STATE_TIME_WAIT || state == TCP_STATE_FIN_WAIT ||
	       state == TCP_STATE_CLOSE_WAIT || state == TCP_STATE_LAST_ACK;
}

static __always_inline __u32 is_over(__u32 state)
{
	return state == TCP_STATE_CLOSE || state == TCP_STATE_TIME_WAIT;
}

/* The state that follows, by the table for this direction. */
static __always_inline __u32 next_state(union state_word was, __u32 direction, __u32 event)
{
	__u32 table = direction ? TABLE_OUT : was.flags & IN_FIRST_TABLE ? TABLE_FIRST : TABLE_IN;
	__u64 place = (table * (EVENT_NONE + 1) + event) * STATE_COLUMNS + was.state % STATE_COLUMNS;
	__u32 zero = 0;
	struct tcp_states *tables = bpf_map_lookup_elem(&tcp_states, &zero);

	if (!tables)
		return was.state;
	/* Linux 6.1 allows no arithmetic with a pointer before it is known not to be null; the compiler would do it there. */
	asm volatile("" : "+r"(place));
	return place < sizeof(tables->next) ? tables->next[place] : was.state;
}

/*
 * Tells the owner of an entry to look at it. Whoever clears the byte reads the record afterwards. An endpoint that belongs to a pool has
 * no session in the tables of its shard, and the shard reads the record when it takes one in, behind the end of that.
 */
static __always_inline void set_changed(__u32 entry)
{
	__u32 page = entry / CHANGED_PAGE_BYTES;
	struct home *home = bpf_map_lookup_elem(&homes, &entry);
	struct changed_page *bytes;

	if (home && *(volatile __u16 *)&home->pool)
		return;
	bytes = bpf_map_lookup_elem(&changed, &page);
	if (bytes)
		bytes->entries[entry % CHANGED_PAGE_BYTES] = 1;
}

/* Moves the word from `was` to `is`; false when somebody else has moved it, or has taken the session, meanwhile. */
static __always_inline int moved(struct session_record *record, union state_word was, union state_word is)
{
	if (*(volatile __u32 *)&record->held)
		return 0;
	return was.word == is.word || __sync_val_compare_and_swap(word_of(record), was.word, is.word) == was.word;
}
