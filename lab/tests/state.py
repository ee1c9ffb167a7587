"""What `vmctop state --format json` says of a vCPU, held to what exitgen says: the VMCS that its guest wrote (--nested), and what KVM's
own ioctls say (--registers).
"""

# Linux's SHADOW_FIELD_RW (arch/x86/kvm/vmx/vmcs_shadow_fields.h) among the fields that exitgen writes: L1 writes them without an exit
# where the CPU has VMCS shadowing, so that KVM's cache may be older.
SHADOWED = {"CPU_BASED_VM_EXEC_CONTROL", "PIN_BASED_VM_EXEC_CONTROL", "EXCEPTION_BITMAP", "GUEST_CR0", "GUEST_CR3", "GUEST_CR4",
            "CR0_GUEST_HOST_MASK", "GUEST_RSP", "GUEST_RIP"}


def of_thread(checks, name, state, made):
    """The one vCPU that exitgen's thread ran."""
    found = [vcpu for vcpu in state["vcpus"] if vcpu["tid"] == made["tid"]]
    checks.equal(len(found), 1, f"{name}: the vCPU of exitgen's thread is found")
    return found[0] if found else None


def nested(checks, made, vcpu):
    checks.equal(made["nested"], True, "nested: exitgen's guest turned VMX on and wrote its VMCS")
    if not checks.that(vcpu["vmcs12"], "nested: vmctop shows vmcs12"):
        return
    rows = {row["name"]: row for row in vcpu["vmcs12"]}
    last = made["nested_last"]
    wrong = {}
    for field, value in made["vmcs12"].items():
        row = rows.get(field, {"value": None, "provenance": "missing"})
        # The last one was written once more; whoever did not see that must say that the value is stale.
        expected = {int(value, 16), int(last, 16)} if field == "GUEST_RIP" and row["provenance"] == "stale" else (
            {int(last, 16)} if field == "GUEST_RIP" else {int(value, 16)})
        right = {"measured"} | ({"stale"} if field in SHADOWED else set())
        if row["value"] is None or int(row["value"], 16) not in expected or row["provenance"] not in right:
            wrong[field] = (value, row["value"], row["provenance"])
    checks.equal(wrong, {}, f"nested: the {len(made['vmcs12'])} fields that the guest wrote are what vmcs12 shows")
    checks.equal(vcpu["nested"], False, "nested: L1 is current")
    checks.that(len(rows) >= 140, "nested: vmcs12 has at least 140 fields", f"{len(rows)}")


def registers(checks, made, vcpu):
    rows = {row["name"]: row for row in vcpu["fields"] + vcpu["other"]}
    wrong, seen = {}, 0
    for field, value in made["registers"].items():
        row = rows.get(field, {"value": None, "provenance": "missing"})
        # What only VMREAD could tell is no mistake, but what KVM itself keeps must be there.
        if row["value"] is None and row["provenance"] == "unavailable" and field.startswith("GUEST_"):
            continue
        seen += 1
        if row["value"] is None or int(row["value"], 16) != int(value, 16) or row["provenance"] not in ("measured", "derived"):
            wrong[field] = (value, row["value"], row["provenance"])
    checks.equal(wrong, {}, f"registers: {seen} registers, events and APIC registers are what KVM's ioctls say")
    checks.that(seen >= 50, "registers: at least 50 are compared", f"{seen}")
