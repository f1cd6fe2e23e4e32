/* The maps: `ipc.lane_layout` says what is in them and who writes what. Sizes are set when the program is loaded. */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "lane_layout.h"

#define FLOW_VALUE_BITS 1 /* a value of `flows` is an entry and, in its lowest bit, a direction */

#define SCRATCH_BYTES 16384

#define CRAFTED_BYTES 128

struct scratch {
	__u8 bytes[SCRATCH_BYTES];
	__u8 crafted[CRAFTED_BYTES]; /* a segment that is made anew: the stack has no room for it */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, USUAL_ENTRIES);
	__type(key, __u32);
	__type(value, struct session_record);
} sessions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2 * USUAL_ENTRIES);
	__type(key, struct flow);
	__type(value, __u32);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, USUAL_ENTRIES / CHANGED_PAGE_BYTES);
	__type(key, __u32);
	__type(value, struct changed_page);
} changed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct real_server);
} real_servers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u8);
} interfaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tcp_states);
} tcp_states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct traffic);
} traffic SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LANE_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FRONT_DOORS);
	__type(key, struct front_door_key);
	__type(value, struct front_door);
} front_doors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, COOKIE_KEYS);
	__type(key, __u32);
	__type(value, struct cookie_key);
} cookie_keys SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct steering);
} steering SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RINGS);
	__type(key, struct front_door_key);
	__type(value, __u32);
} admissions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, RINGS);
	__type(key, __u32);
	__type(value, struct ring);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RINGS);
	__type(key, struct front_door_key);
	__type(value, __u32);
} proven SEC(".maps");

struct proof {
	__u8 bytes[PROOF_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PROOFS);
	__type(key, __u32);
	__type(value, struct proof);
} proofs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FRONT_DOORS);
	__type(key, struct front_door_key);
	__type(value, struct stray_rule);
} stray_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct outside);
} outside SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LATCHES);
	__type(key, __u32);
	__type(value, struct latch);
} latches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, USUAL_ENTRIES);
	__type(key, __u32);
	__type(value, struct home);
} homes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LINES_OF_POOL);
	__type(key, __u32);
	__type(value, struct line);
} lines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LOOKUP_TABLES);
	__type(key, __u32);
	__type(value, struct lookup_table);
} lookup_tables SEC(".maps");

struct remembered_bucket {
	struct remembered clients[REMEMBERED_OF_BUCKET];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, REMEMBERED_BUCKETS);
	__type(key, __u32);
	__type(value, struct remembered_bucket);
} remembered SEC(".maps");

/* What tells one client's connection to a service from all others. */
struct known_client {
	__u32 source;
	__u32 destination;
	__u16 source_port;
	__u16 destination_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, KNOWN_CLIENTS);
	__type(key, struct known_client);
	__type(value, __u64);
} known_clients SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stray_budget);
} stray_budget SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FRONT_DOORS);
	__type(key, struct front_door_key);
	__type(value, struct datagram_rule);
} datagram_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, DATAGRAM_CLIENTS / CHANGED_PAGE_BYTES);
	__type(key, __u32);
	__type(value, struct changed_page);
} datagram_clients SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, REFUSED_SOURCES);
	__type(key, struct refused_source_key);
	__type(value, struct refused_source);
} refused_sources SEC(".maps");

/* Where a segment is copied to, to be looked at or moved as a whole. The program does not sleep: nobody else uses it meanwhile. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");
