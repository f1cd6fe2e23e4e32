#include "maps.h"
#include <linux/pkt_cls.h>

SEC("tc")
int lane(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct settings *is = bpf_map_lookup_elem(&settings, &key);
	struct session_record *record = bpf_map_lookup_elem(&sessions, &key);
	struct flow flow = {};
	bpf_map_lookup_elem(&flows, &flow);
	bpf_map_lookup_elem(&changed, &key);
	bpf_map_lookup_elem(&real_servers, &key);
	bpf_map_lookup_elem(&interfaces, &key);
	bpf_map_lookup_elem(&tcp_states, &key);
	bpf_map_lookup_elem(&traffic, &key);
	bpf_map_lookup_elem(&scratch, &key);
	key = COUNT_UP_CLOSED;
	__u64 *count = bpf_map_lookup_elem(&counts, &key);
	if (count)
		*count += 1;
	return is && is->is_open && record && record->held == 7 ? TC_ACT_UNSPEC : TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
