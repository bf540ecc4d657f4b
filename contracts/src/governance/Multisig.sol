// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

/// An owner made of several: a call is executed once `threshold` of the fixed members confirmed it.
/// Small on purpose, to own a DstackKms or DstackApp (or to propose to a timelock that does) where no
/// other multisig is at hand. To change the members, hand ownership to a new one.
contract Multisig {
    struct Proposal {
        address target;
        bool executed;
        uint256 value;
        bytes data;
        mapping(address => bool) confirmed;
    }

    mapping(address => bool) public isMember;
    address[] public members;
    uint256 public immutable threshold;
    uint256 public proposalCount;
    mapping(uint256 id => Proposal) private _proposals;

    event Proposed(uint256 indexed id, address indexed member, address target, uint256 value, bytes data);
    event Confirmed(uint256 indexed id, address indexed member);
    event Withdrawn(uint256 indexed id, address indexed member);
    event Executed(uint256 indexed id, address indexed member);

    modifier onlyMember() {
        require(isMember[msg.sender], "Not a member");
        _;
    }

    modifier pending(uint256 id) {
        require(id < proposalCount, "No such proposal");
        require(!_proposals[id].executed, "Already executed");
        _;
    }

    constructor(address[] memory initialMembers, uint256 needed) {
        require(needed > 0 && needed <= initialMembers.length, "Bad threshold");
        for (uint256 i = 0; i < initialMembers.length; i++) {
            require(initialMembers[i] != address(0), "Bad member");
            require(!isMember[initialMembers[i]], "Member named twice");
            isMember[initialMembers[i]] = true;
            members.push(initialMembers[i]);
        }
        threshold = needed;
    }

    receive() external payable {}

    /// Proposes a call and confirms it in the proposer's name.
    function propose(address target, uint256 value, bytes calldata data)
        external
        onlyMember
        returns (uint256 id)
    {
        id = proposalCount++;
        Proposal storage proposal = _proposals[id];
        proposal.target = target;
        proposal.value = value;
        proposal.data = data;
        emit Proposed(id, msg.sender, target, value, data);
        _confirm(proposal, id);
    }

    function confirm(uint256 id) external onlyMember pending(id) {
        _confirm(_proposals[id], id);
    }

    function withdraw(uint256 id) external onlyMember pending(id) {
        require(_proposals[id].confirmed[msg.sender], "Not confirmed");
        _proposals[id].confirmed[msg.sender] = false;
        emit Withdrawn(id, msg.sender);
    }

    /// Runs the call; its failure is this call's failure, with the same data.
    function execute(uint256 id) external onlyMember pending(id) returns (bytes memory result) {
        Proposal storage proposal = _proposals[id];
        require(confirmations(id) >= threshold, "Too few confirmations");
        proposal.executed = true; // before the call, so that it cannot run twice
        bool ok;
        (ok, result) = proposal.target.call{value: proposal.value}(proposal.data);
        if (!ok) {
            assembly {
                revert(add(result, 32), mload(result))
            }
        }
        emit Executed(id, msg.sender);
    }

    function confirmations(uint256 id) public view returns (uint256 count) {
        for (uint256 i = 0; i < members.length; i++) {
            if (_proposals[id].confirmed[members[i]]) {
                count++;
            }
        }
    }

    function proposalOf(uint256 id)
        external
        view
        returns (address target, uint256 value, bytes memory data, bool executed)
    {
        Proposal storage proposal = _proposals[id];
        return (proposal.target, proposal.value, proposal.data, proposal.executed);
    }

    function _confirm(Proposal storage proposal, uint256 id) private {
        require(!proposal.confirmed[msg.sender], "Already confirmed");
        proposal.confirmed[msg.sender] = true;
        emit Confirmed(id, msg.sender);
    }
}
